import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { loadConfig } from "../../../platform/config.ts";
import { delimited } from "../../../platform/delimited.ts";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import type { Patience } from "../../../platform/embedding/remote-calls.ts";
import { EMBEDDING_SETTINGS, RemoteEmbedding } from "../../../platform/embedding/remote-embedding.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { createLog } from "../../../platform/log.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { BatchImportSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BatchImport } from "../../../services/worker/handlers/batch-import.ts";
import { EmbeddingServer, TOO_LONG, vectorOf } from "../../support/embedding-server.ts";
import {
  libraryRequest,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import type { Cleanup } from "../../support/temp.ts";
import { type Harness, reversed, startHarness } from "./harness.ts";

/** Imports into libraries whose provider charges for texts: a real index, a real worker, a provider with faults. */

const KEY = "sk-worker-secret-42";
const BATCH_CHUNKS = 64;
const DIMENSIONS = 8;

interface Rig extends Harness {
  readonly provider: EmbeddingServer;
  readonly index: TestIndexService;
  readonly log: string[];
  /** Runs an import of documents to its end. */
  run(documents: readonly Document[], fields?: Partial<LeaseGrant>): Promise<Ending>;
}

interface Ending {
  readonly grant: LeaseGrant;
  readonly outcome: NonNullable<Outcome["outcome"]>;
}

interface RigOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly patience?: Partial<Patience>;
}

async function start(test: Cleanup, { env, patience }: RigOptions = {}): Promise<Rig> {
  const t = reversed(test);
  const provider = await EmbeddingServer.start(t);
  const index = await startIndexService();
  t.after(() => index.stop());
  const log: string[] = [];
  const settings = loadConfig(EMBEDDING_SETTINGS, {
    ARRW_OPENAI_BASE_URL: provider.url,
    ARRW_OPENAI_API_KEY: KEY,
    ARRW_EMBEDDING_BATCH_TEXTS: "16",
    ...env,
  });
  const logger = createLog("worker", "trace", { write: (line) => void log.push(line) });
  const remote = new RemoteEmbedding({
    settings,
    patience: { timeoutMs: 5_000, unavailableMs: 200, rateLimitedMs: 60_000, ...patience },
    log: logger,
  });
  const harness = await startHarness(t, {
    indexAddress: index.address,
    log: logger,
    register: (handlers, nats, client) => {
      handlers.add(
        new BatchImport({
          index: client,
          objects: new JetStreamObjects(nats),
          nats,
          createProvider: (config, options) => createProvider(config, options, remote),
          batchChunks: BATCH_CHUNKS,
        }),
      );
    },
  });
  const request = libraryRequest("books", DIMENSIONS, {
    embedding: { provider: "openai", model: "small", dimensions: DIMENSIONS },
  });
  await TestLibrary.create(index.client, request);
  const objects = new JetStreamObjects(harness.scheduler.nats);
  const run: Rig["run"] = async (documents, fields = {}) => {
    const jobId = fields.jobId || uuidv7();
    const payloadObject = fields.payloadObject || `payload-${jobId}`;
    if (!fields.payloadObject) {
      const messages = documents.map((each) => delimited(Document.encode(each).finish()));
      await objects.put(payloadObject, messages);
    }
    const grant = harness.scheduler.grant({
      jobId,
      type: "batch_import",
      libraryId: "books",
      itemCount: BigInt(documents.length),
      spec: { spec: { $case: "batchImport", value: BatchImportSpec.fromPartial({}) } },
      ...fields,
      payloadObject,
    });
    await harness.scheduler.assign([grant]);
    return { grant, outcome: await harness.scheduler.outcomeOf(grant.lease, 60_000) };
  };
  return { ...harness, provider, index, log, run };
}

function documents(count: number, prefix = "doc"): Document[] {
  return Array.from({ length: count }, (_, n) =>
    Document.fromPartial({ documentId: `${prefix}-${n}`, texts: [`the text of number ${n}`] }),
  );
}

function countsOf({ outcome }: Ending): number[] {
  assert.ok(
    outcome.$case === "completed",
    JSON.stringify(outcome, (_, v) => (typeof v === "bigint" ? `${v}` : v)),
  );
  const result = outcome.value.result?.result;
  assert.ok(result?.$case === "batchImport");
  return [result.value.imported, result.value.failed].map(Number);
}

async function vectorIn(index: TestIndexService, documentId: string): Promise<number[]> {
  const request = { libraryId: "books", documentId, includeVectors: true };
  const { document } = await unary(index.client, index.client.getDocument, request, { timeoutMs: 5_000 });
  const packed = document?.vectors[0]?.packed ?? Buffer.alloc(0);
  return Array.from({ length: packed.length / 4 }, (_, n) => packed.readFloatLE(n * 4));
}

test("2,000 documents through a storm of 429: each text is paid for once, and never again", async (t) => {
  // Nothing is remembered in the process: what is known comes from the index.
  const { provider, index, run } = await start(t, { env: { ARRW_EMBEDDING_CACHE_BYTES: "0" } });
  let refused = 0;
  provider.fault = ({ number }) => {
    if (number > 4 && number % 5 !== 0) return undefined;
    refused += 1;
    return { status: 429, headers: { "retry-after": "0.05" } };
  };
  const all = documents(2_000);
  assert.deepEqual(countsOf(await run(all)), [2_000, 0]);
  assert.ok(refused > 20, `${refused} calls were refused`);
  assert.equal(provider.charged.size, 2_000);
  assert.deepEqual(provider.chargedTwice, []);
  assert.deepEqual(await vectorIn(index, "doc-77"), [...vectorOf("the text of number 77", DIMENSIONS)]);
  // The same again, and the same texts in other documents.
  const calls = provider.calls.length;
  assert.deepEqual(countsOf(await run(all)), [2_000, 0]);
  assert.deepEqual(countsOf(await run(documents(2_000, "copy"))), [2_000, 0]);
  assert.equal(provider.calls.length, calls);
  assert.deepEqual(await vectorIn(index, "copy-77"), [...vectorOf("the text of number 77", DIMENSIONS)]);
});

test("an attempt that starts over pays again for at most what was under way", async (t) => {
  const { provider, run } = await start(t, { env: { ARRW_EMBEDDING_CACHE_BYTES: "0" } });
  const all = documents(600);
  provider.fault = ({ number }) => (number > 20 ? { status: 500 } : undefined);
  const first = await run(all);
  assert.ok(first.outcome.$case === "failed");
  const { error } = first.outcome.value;
  assert.deepEqual([error?.code, error?.retryable], ["EMBEDDING_UNAVAILABLE", true]);
  provider.fault = () => undefined;
  const { jobId, payloadObject } = first.grant;
  // Without its checkpoint: from the first document on.
  assert.deepEqual(countsOf(await run(all, { jobId, payloadObject, leasesBefore: 1 })), [600, 0]);
  assert.equal(provider.charged.size, 600);
  const twice = provider.chargedTwice.length;
  assert.ok(twice <= 2 * BATCH_CHUNKS, `${twice} texts were paid for twice`);
});

test("a key that is refused fails the job at once and says where to look, without the key", async (t) => {
  const { provider, run, log } = await start(t);
  provider.fault = () => ({
    status: 401,
    body: JSON.stringify({ error: { message: `Incorrect API key provided: ${KEY}` } }),
  });
  const { outcome } = await run(documents(200));
  assert.ok(outcome.$case === "failed");
  const { error } = outcome.value;
  assert.deepEqual([error?.code, error?.retryable], ["EMBEDDING_UNAUTHORIZED", false]);
  assert.equal(error?.message, "openai refused the key (HTTP 401); check ARRW_OPENAI_API_KEY");
  assert.ok(provider.calls.length <= 4);
  assert.ok(!log.join().includes(KEY));
});

test("a text that is too long fails its document alone", async (t) => {
  const { provider, index, run } = await start(t);
  const all = documents(100);
  all[41] = Document.fromPartial({ documentId: "doc-41", texts: ["fine", `${TOO_LONG} for it`] });
  assert.deepEqual(countsOf(await run(all)), [99, 1]);
  assert.deepEqual(provider.chargedTwice, []);
  await assert.rejects(vectorIn(index, "doc-41"), { reason: "DOCUMENT_NOT_FOUND" });
  assert.deepEqual(await vectorIn(index, "doc-42"), [...vectorOf("the text of number 42", DIMENSIONS)]);
});

test("a provider that takes no calls for long makes the job give its slot back, not fail", async (t) => {
  const { provider, run } = await start(t);
  provider.fault = ({ number }) =>
    number > 8 ? { status: 429, headers: { "retry-after": "600" } } : undefined;
  const { outcome } = await run(documents(400));
  assert.ok(outcome.$case === "released", outcome.$case);
  const { seconds = 0n } = outcome.value.delay ?? {};
  assert.ok(seconds >= 599n && seconds <= 660n, `${seconds} s`);
  assert.ok(provider.charged.size >= 64);
});

test("cancel does not wait for a provider that hangs", async (t) => {
  const { provider, scheduler, run } = await start(t);
  provider.fault = ({ number }) => (number > 8 ? "hang" : undefined);
  const hanging = new Promise<void>((resolve) => {
    provider.pace = async ({ number }) => {
      if (number === 9) resolve();
    };
  });
  const lease = 77n;
  const running = run(documents(400), { lease });
  await hanging;
  await scheduler.cancel([lease]);
  const askedAtMs = performance.now();
  const { outcome } = await running;
  assert.ok(performance.now() - askedAtMs < 400);
  assert.ok(outcome.$case === "cancelled", outcome.$case);
});

test("wrong dimensions fail the job, not retryably, and name both", async (t) => {
  const { provider, run } = await start(t);
  provider.dimensions = 5;
  const { outcome } = await run(documents(10));
  assert.ok(outcome.$case === "failed");
  const { error } = outcome.value;
  assert.deepEqual([error?.code, error?.retryable], ["EMBEDDING_INVALID", false]);
  assert.match(error?.message ?? "", /its vectors have 5 dimensions, the library's 8/);
});
