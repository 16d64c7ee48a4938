import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, unary } from "../../../platform/grpc/client.ts";
import { silentLog } from "../../../platform/log.ts";
import { BuildKind, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { ExportServiceClient, type OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import type { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { EventLog } from "../../../services/index/event-log.ts";
import { openExportRows } from "../../../services/index/export-rows.ts";
import { Exports } from "../../../services/index/exports.ts";
import { ensureGeneration, liveGeneration } from "../../../services/index/generations.ts";
import { LibraryWriter } from "../../../services/index/library-writer.ts";
import { openStore } from "../../../services/index/store.ts";
import { checkedConfig } from "../../../services/index/validate.ts";
import { eventually } from "../../support/eventually.ts";
import { TestBuilds } from "../../support/index-builds.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

const DIMENSIONS = 8;

interface Reader {
  readonly client: ExportServiceClient;
  open(exportId: string): Promise<OpenExportResponse>;
  page(exportId: string, pin: bigint, after: string, letGo?: string): Promise<Document[]>;
  /** Default: any pin. */
  close(exportId: string, pin?: bigint): Promise<unknown>;
  /** All documents from `after` on, letting go of what was read. */
  rest(exportId: string, pin: bigint, after?: string): Promise<Document[]>;
}

function readerOf(t: Cleanup, service: TestIndexService, libraryId: string): Reader {
  const client = connect(ExportServiceClient, service.address);
  t.after(() => client.close());
  const call = { timeoutMs: 10_000 };
  const reader: Reader = {
    client,
    open: (exportId) => unary(client, client.openExport, { libraryId, exportId }, call),
    page: async (exportId, pin, after, letGo = "") => {
      const request = { libraryId, exportId, pin, after, letGo, includeVectors: true };
      return (await unary(client, client.readExport, request, call)).documents;
    },
    close: (exportId, pin = 0n) => unary(client, client.closeExport, { libraryId, exportId, pin }, call),
    rest: async (exportId, pin, after = "") => {
      const all: Document[] = [];
      for (let last = after; ; ) {
        const page = await reader.page(exportId, pin, last, last);
        if (page.length === 0) return all;
        all.push(...page);
        last = page.at(-1)?.documentId ?? "";
      }
    },
  };
  return reader;
}

const idOf = (n: number): string => `document-${String(n).padStart(5, "0")}`;

/** Title, texts and vectors name the document and its version. */
function version(n: number, edition: string) {
  const vectors = [seededVector(n, DIMENSIONS), seededVector(n + 1, DIMENSIONS)];
  return documentUpsert(idOf(n), vectors, {
    title: edition,
    texts: [`${edition} one of ${n} ${"x".repeat(2_000)}`, `${edition} two of ${n}`],
    metadata: { edition, n },
    tags: [edition],
  });
}

function assertVersions(documents: readonly Document[], numbers: readonly number[], edition: string): void {
  assert.deepEqual(
    documents.map(({ documentId }) => documentId),
    numbers.map(idOf),
  );
  for (const [place, document] of documents.entries()) {
    const wanted = version(numbers[place] ?? -1, edition);
    assert.deepEqual(document.texts, wanted.document?.texts);
    assert.deepEqual(document.metadata, wanted.document?.metadata);
    assert.equal(document.title, edition);
    assert.deepEqual(Buffer.concat(document.vectors.map((vector) => vector.packed)), wanted.vectors);
  }
}

const numbers = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);

async function filled(t: Cleanup, service: TestIndexService, count: number) {
  const library = await TestLibrary.create(service.client, libraryRequest("exported", DIMENSIONS));
  for (let n = 0; n < count; n += 500) {
    await library.upsert(numbers(n, Math.min(count, n + 500)).map((each) => version(each, "first")));
  }
  return { library, reader: readerOf(t, service, library.id) };
}

test("an export reads the library as it was while documents are replaced, removed and added", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { library, reader } = await filled(t, service, 3_000);
  const { pin, documents, chunks } = await reader.open("job");
  assert.deepEqual([documents, chunks], [3_000n, 6_000n]);
  const first = await reader.page("job", pin, "");
  assert.ok(first.length > 100 && first.length < 3_000, `a page of ${first.length}`);

  // Before the reader, where it stands, behind it; some twice; new ones among them.
  await library.upsert(
    numbers(0, 3_000)
      .filter((n) => n % 3 === 0)
      .map((n) => version(n, "second")),
  );
  await library.delete(
    numbers(0, 3_000)
      .filter((n) => n % 5 === 0)
      .map(idOf),
  );
  await library.upsert(
    numbers(0, 3_000)
      .filter((n) => n % 15 === 0)
      .map((n) => version(n, "third")),
  );
  await library.upsert(numbers(3_000, 3_100).map((n) => version(n, "second")));

  const again = await reader.page("job", pin, "");
  // How long a page is depends on time.
  assertVersions(again, numbers(0, again.length), "first");
  const last = first.at(-1)?.documentId ?? "";
  const rest = await reader.rest("job", pin, last);
  assertVersions([...first, ...rest], numbers(0, 3_000), "first");

  const other = await reader.open("another job");
  assert.equal(other.documents, 3_100n - 600n + 200n);
  assert.equal((await reader.rest("another job", other.pin)).length, Number(other.documents));
});

test("a restart of the index keeps the pin and what was kept for it", async (t) => {
  const before = await startIndexService();
  const { library, reader } = await filled(t, before, 500);
  const { pin } = await reader.open("job");
  await library.upsert(numbers(0, 250).map((n) => version(n, "second")));
  await before.stop({ keep: true });

  const after = await startIndexService({ folder: before.folder });
  t.after(() => after.stop());
  const resumed = readerOf(t, after, library.id);
  assert.equal((await resumed.open("job")).pin, pin);
  assertVersions(await resumed.rest("job", pin), numbers(0, 500), "first");
});

test("what an export has let go of isn't kept, and isn't read again", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { library, reader } = await filled(t, service, 100);
  const { pin } = await reader.open("job");
  await library.upsert([version(10, "second"), version(60, "second")]);
  await reader.page("job", pin, idOf(49), idOf(49));
  await library.upsert([version(20, "second")]);
  assertVersions(await reader.page("job", pin, idOf(49), idOf(49)), numbers(50, 100), "first");
  await assert.rejects(reader.page("job", pin, idOf(48)), { code: "NOT_FOUND", reason: "EXPORT_NOT_FOUND" });
});

test("pages of two pins are never mixed", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { reader } = await filled(t, service, 10);
  const { pin } = await reader.open("job");
  assert.equal((await reader.open("job")).pin, pin);
  await reader.close("job");
  await reader.close("job");
  await assert.rejects(reader.page("job", pin, ""), { reason: "EXPORT_NOT_FOUND" });
  const next = await reader.open("job");
  assert.notEqual(next.pin, pin);
  await assert.rejects(reader.page("job", pin, ""), { reason: "EXPORT_NOT_FOUND" });
  assert.equal((await reader.page("job", next.pin, "")).length, 10);
  await reader.close("job", pin);
  assert.equal((await reader.page("job", next.pin, "")).length, 10);
  await reader.close("job", next.pin);
  await assert.rejects(reader.page("job", next.pin, ""), { reason: "EXPORT_NOT_FOUND" });
});

test("a document that doesn't fit into a message with its vectors is named; without them it is read", async (t) => {
  const dimensions = 4_096;
  const { exports, write, close } = await opened(t, 60_000, { dimensions });
  t.after(close);
  const chunks = 4_000;
  const { document } = documentUpsert("huge", []);
  assert.ok(document);
  const texts = Array.from({ length: chunks }, (_, n) => `chunk ${n}`);
  await write([{ ...document, texts, vectors: Buffer.alloc(chunks * dimensions * 4) }]);
  const { pin } = await exports.open("job", 1);
  const page = { exportId: "job", pin, after: "", letGo: "" };
  await assert.rejects(exports.read({ ...page, includeVectors: true }), {
    code: "FAILED_PRECONDITION",
    reason: "DOCUMENT_TOO_LARGE",
    message: /"huge" has 4,000 chunks, 65,\d{3},\d{3} bytes .* at most 62,914,560/,
  });
  assert.equal((await exports.read({ ...page, includeVectors: false }))[0]?.texts.length, chunks);
});

test("a library has at most 16 exports, and bad requests say what is wrong", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { reader } = await filled(t, service, 1);
  for (let n = 0; n < 16; n++) await reader.open(`job-${n}`);
  await assert.rejects(reader.open("one more"), { code: "RESOURCE_EXHAUSTED", reason: "TOO_MANY_EXPORTS" });
  await reader.close("job-3");
  await reader.open("one more");
  await assert.rejects(reader.page("", 1n, "b".repeat(513), "c"), (error: { violations: unknown }) => {
    assert.deepEqual(error.violations, [
      { field: "export_id", description: "1..256 bytes, got 0" },
      { field: "after", description: "at most 512 bytes, got 513" },
      { field: "let_go", description: "at most after" },
    ]);
    return true;
  });
});

test("an empty library and one whose vectors are packed bit for bit", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { library, reader } = await filled(t, service, 0);
  const empty = await reader.open("empty");
  assert.deepEqual(await reader.page("empty", empty.pin, ""), []);
  const vector = Float32Array.of(-0, 1e-40, 3.4e14, -1.5, 0.1, 1 / 3, 7, 1e-7);
  await library.upsert([documentUpsert("one", [vector])]);
  assert.deepEqual(await reader.page("empty", empty.pin, ""), []);
  const { pin } = await reader.open("job");
  const [document] = await reader.page("job", pin, "");
  assert.deepEqual(document?.vectors[0]?.packed, packed(vector));
});

/** Vectors of another embedding for all chunks, swapped in. */
async function regenerated(builds: TestBuilds, jobId: string, dimensions: number): Promise<void> {
  const embedding = { provider: "none", model: jobId, dimensions };
  await builds.start(jobId, 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding });
  for (;;) {
    const { chunks, throughKey } = await builds.readChunks(jobId, 1n, 1_000);
    if (chunks.length === 0) break;
    const keys = chunks.map(({ key }) => key);
    const vectors = packed(...keys.map((key) => seededVector(Number(key), dimensions)));
    await builds.writeVectors(jobId, 1n, throughKey, keys, vectors);
  }
  await builds.until(jobId, 1n, BuildPhase.BUILD_PHASE_READY);
  const { build } = await builds.swap(jobId, 1n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
}

test("an export has the vectors of its pin through swaps, as long as they are kept", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { library, reader } = await filled(t, service, 300);
  const builds = new TestBuilds(t, service.client, service.address, library.id);
  const { pin } = await reader.open("job");
  // Each rebuild has the same vectors; the generation that was pinned is gone after the second.
  for (const jobId of ["one", "two", "three"]) {
    await builds.rebuild(jobId, { indexType: "flat" });
    assertVersions((await reader.page("job", pin, "")).slice(0, 10), numbers(0, 10), "first");
  }
  await regenerated(builds, "four", 12);
  await library.delete([idOf(3), idOf(250)]);
  assertVersions(await reader.rest("job", pin), numbers(0, 300), "first");

  const next = await reader.open("next");
  assert.equal(next.embedding?.dimensions, 12);
  await regenerated(builds, "five", 8);
  assert.equal((await reader.page("next", next.pin, ""))[0]?.vectors[0]?.packed.length, 12 * 4);
  await regenerated(builds, "six", 8);
  await assert.rejects(reader.page("next", next.pin, ""), { code: "NOT_FOUND", reason: "EXPORT_NOT_FOUND" });
  const request = { libraryId: library.id, exportId: "next", pin: next.pin, after: "", letGo: "" };
  const texts = await unary(
    reader.client,
    reader.client.readExport,
    { ...request, includeVectors: false },
    { timeoutMs: 5_000 },
  );
  assert.ok(texts.documents.length > 0);
});

/** A library's store and its exports, without a service. */
async function opened(
  t: Cleanup,
  idleMs: number,
  { folder, dimensions = DIMENSIONS }: { folder?: string; dimensions?: number } = {},
) {
  const store = openStore(folder ?? (await tempDir(t)));
  const config = checkedConfig(libraryRequest("a", dimensions));
  ensureGeneration(store, { ...config, number: 1, embeddingId: "e", createdAtMs: 0 });
  const exports = new Exports(store, silentLog(), idleMs);
  const writer = new LibraryWriter(store, new EventLog(store, 1_000), exports);
  const write = async (documents: Parameters<LibraryWriter["upsert"]>[2]): Promise<void> => {
    await writer.upsert(undefined, liveGeneration(store), documents);
  };
  const upsert = async (from: number, to: number, edition: string): Promise<void> => {
    const documents = numbers(from, to).map((n) => {
      const { document, vectors } = version(n, edition);
      assert.ok(document);
      return { ...document, metadata: document.metadata, vectors };
    });
    await write(documents);
  };
  const images = (): number => openExportRows(store).images.getKeysCount();
  const close = async (): Promise<void> => {
    await exports.stop();
    await store.env.close();
  };
  return { exports, write, upsert, images, close };
}

test("an export without a call is dropped with what it kept; a call keeps it", async (t) => {
  const { exports, upsert, images, close } = await opened(t, 2_000);
  t.after(close);
  await upsert(0, 500, "first");
  const { pin } = await exports.open("job", 1);
  await exports.open("other", 2);
  await upsert(0, 500, "second");
  assert.equal(images(), 1_000);
  const page = { exportId: "other", pin: 2, after: "", letGo: "", includeVectors: false };
  await eventually(async () => {
    assert.ok((await exports.read(page)).length > 0);
    return exports.size === 1 && images() === 500;
  });
  await assert.rejects(exports.read({ ...page, exportId: "job", pin }), { reason: "EXPORT_NOT_FOUND" });
  await eventually(() => exports.size === 0 && images() === 0);
});

test("what a crash left of a dropped export is removed when the library is opened", async (t) => {
  const folder = await tempDir(t);
  const before = await opened(t, 60_000, { folder });
  await before.upsert(0, 300, "first");
  await before.exports.open("dropped", 1);
  await before.exports.open("kept", 2);
  await before.upsert(0, 300, "second");
  // The row goes first; the process dies before all of its images do.
  await before.exports.close("dropped");
  await before.close();
  const after = await opened(t, 60_000, { folder });
  t.after(after.close);
  await eventually(() => after.images() === 300);
  const page = { exportId: "kept", pin: 2, after: "", letGo: "", includeVectors: true };
  assertVersions((await after.exports.read(page)).slice(0, 50), numbers(0, 50), "first");
});
