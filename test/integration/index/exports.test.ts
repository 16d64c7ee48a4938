import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, unary } from "../../../platform/grpc/client.ts";
import { ExportServiceClient, type OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import type { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import type { Cleanup } from "../../support/temp.ts";

const DIMENSIONS = 8;

interface Reader {
  readonly client: ExportServiceClient;
  open(exportId: string): Promise<OpenExportResponse>;
  page(exportId: string, pin: bigint, after: string, letGo?: string): Promise<Document[]>;
  close(exportId: string): Promise<unknown>;
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
    close: (exportId) => unary(client, client.closeExport, { libraryId, exportId }, call),
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
