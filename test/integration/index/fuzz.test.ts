import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import fc from "fast-check";
import { unary } from "../../../platform/grpc/client.ts";
import {
  BuildKind,
  BuildServiceClient,
  BuildServiceService,
  StartBuildRequest,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { ChangeServiceClient } from "../../../proto/gen/arrwdb/index/v1/changes.ts";
import { ExportServiceClient } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import {
  arbitraryIndexRequests,
  INDEX_SERVICES,
  type Known,
} from "../../support/arbitrary-index-requests.ts";
import { type IndexProcess, startIndexProcess } from "../../support/index-process.ts";
import { documentUpsert, libraryRequest, seededVector, TestLibrary } from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";
import { WatchedLibrary } from "../../support/watched-library.ts";

const RUNS = 450;
const AT_A_TIME = 10;
const DIMENSIONS = 3;
/** INTERNAL (13), UNKNOWN (2) and DATA_LOSS (15) would be ours to answer for; UNAVAILABLE (14) is a crash. */
const OURS: readonly number[] = [2, 13, 14, 15];
const DEADLINE_EXCEEDED = 4;
/** A call that takes longer hangs. */
const CALL_MS = 20_000;
/** A watch that is in order stays open. */
const WATCH_MS = 150;
const BUILD_METHODS: ReadonlySet<string> = new Set(
  Object.values(BuildServiceService).map(({ path }) => path),
);
/** They need a build that is through, or a generation before. */
const RARELY_GOOD: ReadonlySet<string> = new Set([
  BuildServiceService.swapBuild.path,
  BuildServiceService.rollbackGeneration.path,
]);
const asIs = (bytes: Buffer): Buffer => bytes;
const call = { timeoutMs: 10_000 };

interface Method {
  readonly path: string;
  readonly responseStream: boolean;
}

/** How it ended; 0 = well. */
function ended(
  client: Client,
  { path, responseStream }: Method,
  bytes: Buffer,
): Promise<ServiceError | null> {
  if (!responseStream) {
    const options = { deadline: Date.now() + CALL_MS };
    return new Promise((resolve) => {
      client.makeUnaryRequest(path, asIs, asIs, bytes, options, (error) => resolve(error));
    });
  }
  const stream = client.makeServerStreamRequest(path, asIs, asIs, bytes, { deadline: Date.now() + WATCH_MS });
  stream.on("data", () => undefined);
  return new Promise((resolve) => {
    stream.on("error", (error: ServiceError) => resolve(error.code === DEADLINE_EXCEEDED ? null : error));
    stream.on("end", () => setImmediate(resolve, null));
  });
}

/** @returns how many were answered well */
async function fuzz(client: Client, method: Method, cases: readonly Buffer[]): Promise<number> {
  const left = [...cases];
  let good = 0;
  const work = async (): Promise<void> => {
    for (let bytes = left.pop(); bytes; bytes = left.pop()) {
      const error = await ended(client, method, bytes);
      if (!error) good += 1;
      if (!error || !(OURS.includes(error.code) || error.code === DEADLINE_EXCEEDED)) continue;
      const request = bytes.toString("hex").slice(0, 2_000);
      assert.fail(`${method.path}: ${error.code} ${error.details} for ${request}`);
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
  return good;
}

/** What every caller may rely on still holds. */
async function assertWorks({ client, address }: IndexProcess, id: string): Promise<void> {
  const library = await TestLibrary.create(client, libraryRequest(id, DIMENSIONS));
  await library.upsert([documentUpsert("good", [seededVector(7, DIMENSIONS)])]);
  for (const exact of [true, false]) {
    const { hits } = await library.search(seededVector(7, DIMENSIONS), 100, { exact });
    const good = hits.find(({ documentId }) => documentId === "good");
    assert.equal(good?.score, 1);
  }
  const page = await unary(
    client,
    client.listLibraries,
    { visibleLibraries: [], pageSize: 1_000, pageToken: "" },
    call,
  );
  assert.ok(page.libraries.some(({ libraryId }) => libraryId === id));
  const changes = new ChangeServiceClient(address, credentials.createInsecure());
  const watched = await new WatchedLibrary(changes, changes.watchChanges, id).started();
  await library.delete(["good"]);
  await watched.count(1);
  assert.deepEqual(watched.told, ["deleted good"]);
  await watched.stop();
  changes.close();
}

/** A library with a few documents, and a job whose fence is open. */
async function knownLibrary({ client, address }: IndexProcess, jobId: string): Promise<Known> {
  const libraryId = "known";
  const documentIds = ["a", "b", "c"];
  await TestLibrary.create(client, libraryRequest(libraryId, DIMENSIONS));
  const { embeddingId } = await unary(client, client.getLibrary, { visibleLibraries: [], libraryId }, call);
  const documents = documentIds.map((id, i) => documentUpsert(id, [seededVector(i, DIMENSIONS)]));
  const upsert = { libraryId, embeddingId, fence: undefined, documents };
  const changes = new ChangeServiceClient(address, credentials.createInsecure());
  const watched = await new WatchedLibrary(changes, changes.watchChanges, libraryId).started();
  await unary(client, client.upsertDocuments, upsert, call);
  await unary(client, client.beginLease, { libraryId, fence: { jobId, lease: 1n } }, call);
  await watched.stop();
  changes.close();
  const exportId = "export";
  const exports = new ExportServiceClient(address, credentials.createInsecure());
  const { pin } = await unary(exports, exports.openExport, { libraryId, exportId }, call);
  exports.close();
  return {
    libraryId,
    embeddingId,
    dimensions: DIMENSIONS,
    documentIds,
    cursor: watched.start,
    jobId,
    exportId,
    pin,
  };
}

/** A build that waits for vectors. */
async function beginBuild({ address }: IndexProcess, jobId: string): Promise<void> {
  const builds = new BuildServiceClient(address, credentials.createInsecure());
  const request = StartBuildRequest.fromPartial({
    libraryId: "known",
    fence: { jobId, lease: 1n },
    kind: BuildKind.BUILD_KIND_REGENERATE,
    embedding: { provider: "none", model: "other", dimensions: DIMENSIONS },
    run: 1,
  });
  await unary(builds, builds.startBuild, request, call);
  builds.close();
}

test("10,000 random and mutated requests to all methods of the index: clear answers, no crash, no hang", async (t) => {
  const service = await startIndexProcess(await tempDir(t), { ARRW_LOG_LEVEL: "error" });
  const client = new Client(service.address, credentials.createInsecure());
  t.after(async () => {
    client.close();
    assert.equal(await service.kill("SIGTERM"), 0);
  });
  const methods = INDEX_SERVICES.flatMap((definition): Method[] => Object.values(definition));
  let sent = 0;
  for (const [n, method] of methods.entries()) {
    const request = arbitraryIndexRequests(await knownLibrary(service, `job-${n}`))[method.path];
    assert.ok(request, `no requests for ${method.path}`);
    const cases = fc.sample(request, RUNS);
    if (BUILD_METHODS.has(method.path)) await beginBuild(service, `job-${n}`);
    const good = await fuzz(client, method, cases);
    // Requests that are all refused at the door would find nothing.
    if (!RARELY_GOOD.has(method.path)) assert.ok(good > 0, `${method.path}: no request was good`);
    sent += cases.length;
    // Its build gives way to the next job's.
    const fence = { jobId: `job-${n}`, lease: 1n };
    await unary(service.client, service.client.endLease, { libraryId: "known", fence }, call);
    await assertWorks(service, `after-${n}`);
  }
  assert.ok(sent >= 10_000, `${sent} requests`);
  assert.deepEqual(service.lines, []);
});
