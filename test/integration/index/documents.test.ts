import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import type { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const call = { timeoutMs: 10_000 };

async function setUp(t: TestContext): Promise<{ client: IndexServiceClient; library: TestLibrary }> {
  const service = await startIndexService();
  t.after(() => service.stop());
  return {
    client: service.client,
    library: await TestLibrary.create(service.client, libraryRequest("a", 8)),
  };
}

async function allDocuments(client: IndexServiceClient, filter?: Filter, pageSize = 7): Promise<string[]> {
  const ids: string[] = [];
  let pageToken = "";
  do {
    const request = { libraryId: "a", filter, pageSize, pageToken, includeTexts: false };
    const page = await unary(client, client.listDocuments, request, call);
    ids.push(...page.documents.map(({ documentId }) => documentId));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return ids;
}

test("a document comes back as it was written", async (t) => {
  const { client, library } = await setUp(t);
  const vectors = [seededVector(1, 8), seededVector(2, 8)];
  const metadata = { year: 2020, deep: { list: [1, "two", null, true], "odd.key": "ü" }, empty: {} };
  const fields = { author: "Ann", tags: ["a", "b"], sourceUrl: "https://example.org", metadata };
  const upsert = documentUpsert("d/../\u0000 ü#1", vectors, fields);
  await library.upsert([upsert]);
  const request = { libraryId: "a", documentId: "d/../\u0000 ü#1", includeVectors: true };
  const { document } = await unary(client, client.getDocument, request, call);
  assert.deepEqual(document?.texts, upsert.document?.texts);
  assert.deepEqual(document?.metadata, metadata);
  assert.equal(document?.author, "Ann");
  assert.deepEqual(document?.tags, ["a", "b"]);
  assert.equal(document?.sourceUrl, "https://example.org");
  assert.deepEqual(Buffer.concat(document?.vectors.map((v) => v.packed) ?? []), packed(...vectors));
  for (const documentId of ["nope", "", "x".repeat(5_000)]) {
    const missing = unary(client, client.getDocument, { ...request, documentId }, call);
    await assert.rejects(missing, { code: "NOT_FOUND", reason: "DOCUMENT_NOT_FOUND" });
  }
});

test("writing a document again replaces it whole; of two in one request the last wins", async (t) => {
  const { client, library } = await setUp(t);
  await library.upsert([
    documentUpsert(
      "d",
      [1, 2, 3].map((seed) => seededVector(seed, 8)),
    ),
    documentUpsert("e", [seededVector(9, 8)]),
  ]);
  const change = await library.upsert([
    documentUpsert("d", [seededVector(4, 8)]),
    documentUpsert("d", [seededVector(5, 8), seededVector(6, 8)], { title: "the last" }),
  ]);
  assert.equal(change, 2n);
  const { document } = await unary(
    client,
    client.getDocument,
    { libraryId: "a", documentId: "d", includeVectors: true },
    call,
  );
  assert.equal(document?.title, "the last");
  assert.equal(document?.vectors.length, 2);
  for (const exact of [true, false]) {
    const { hits } = await library.search(seededVector(1, 8), 10, { exact });
    assert.deepEqual(hits.map(({ chunkId }) => chunkId).sort(), ["d#0", "d#1", "e#0"]);
  }
  const { library: message } = await unary(
    client,
    client.getLibrary,
    { visibleLibraries: [], libraryId: "a" },
    call,
  );
  assert.equal(message?.documentCount, 2n);
  assert.equal(message?.chunkCount, 3n);
});

test("deleting takes documents out of every answer and reports unknown ids", async (t) => {
  const { client, library } = await setUp(t);
  await library.upsert(["c", "a", "b"].map((id, i) => documentUpsert(id, [seededVector(i, 8)])));
  assert.deepEqual(await library.delete(["b", "x", "", "b", "y".repeat(3_000)]), [
    "x",
    "",
    "y".repeat(3_000),
  ]);
  assert.deepEqual(await allDocuments(client), ["a", "c"]);
  const { hits } = await library.search(seededVector(2, 8), 10);
  assert.deepEqual(hits.map(({ documentId }) => documentId).sort(), ["a", "c"]);
});

test("documents are listed by id, page by page, filtered, with texts if asked for", async (t) => {
  const { client, library } = await setUp(t);
  const ids = Array.from({ length: 30 }, (_, i) => `d${String(i).padStart(2, "0")}`);
  await library.upsert(
    ids
      .map((id, i) => documentUpsert(id, [seededVector(i, 8)], { metadata: { even: i % 2 === 0, i } }))
      .reverse(),
  );
  assert.deepEqual(await allDocuments(client), ids);
  const even: Filter = { all: [{ field: "metadata.even", test: { $case: "equals", value: true } }] };
  assert.deepEqual(
    await allDocuments(client, even, 4),
    ids.filter((_, i) => i % 2 === 0),
  );
  const request = { libraryId: "a", filter: undefined, pageSize: 1, pageToken: "", includeTexts: true };
  const { documents } = await unary(client, client.listDocuments, request, call);
  assert.deepEqual(documents[0]?.texts, ["text 0 of d00"]);
});

test("an embedding that isn't the library's is ABORTED with the current one", async (t) => {
  const { client, library } = await setUp(t);
  const other = { embeddingId: "0".repeat(32) };
  const expected = {
    code: "ABORTED",
    reason: "EMBEDDING_CHANGED",
    metadata: { embedding_id: library.embeddingId },
  };
  await assert.rejects(library.search(seededVector(1, 8), 1, other), expected);
  const documents = [documentUpsert("d", [seededVector(1, 8)])];
  const upsert = unary(
    client,
    client.upsertDocuments,
    { libraryId: "a", fence: undefined, documents, ...other },
    call,
  );
  await assert.rejects(upsert, expected);
});

test("a mutation under a fence needs its lease begun and open", async (t) => {
  const { client, library } = await setUp(t);
  const documents = [documentUpsert("d", [seededVector(1, 8)])];
  const fence = (lease: bigint) => ({ jobId: "job", lease });
  const begin = (lease: bigint) =>
    unary(client, client.beginLease, { libraryId: "a", fence: fence(lease) }, call);
  const end = (lease: bigint, libraryId = "a") =>
    unary(client, client.endLease, { libraryId, fence: fence(lease) }, call);
  const fenced = { code: "FAILED_PRECONDITION", reason: "LEASE_FENCED" };
  await assert.rejects(library.upsert(documents, fence(5n)), fenced);
  const begun = await begin(5n);
  assert.equal(begun.library?.libraryId, "a");
  assert.equal(begun.embeddingId, library.embeddingId);
  await begin(5n);
  await library.upsert(documents, fence(5n));
  await begin(7n);
  await assert.rejects(library.upsert(documents, fence(5n)), fenced);
  await assert.rejects(library.delete(["d"], fence(5n)), fenced);
  await assert.rejects(begin(6n), fenced);
  await end(6n);
  await library.upsert(documents, fence(7n));
  await end(7n);
  await assert.rejects(library.delete(["d"], fence(7n)), fenced);
  await assert.rejects(begin(7n), fenced);
  await end(9n);
  await assert.rejects(begin(9n), fenced);
  await begin(10n);
  assert.deepEqual(await allDocuments(client), ["d"]);
  await end(1n, "gone");
  await assert.rejects(unary(client, client.beginLease, { libraryId: "gone", fence: fence(1n) }, call), {
    reason: "LIBRARY_NOT_FOUND",
  });
});

test("a refused request writes nothing", async (t) => {
  const { client, library } = await setUp(t);
  const good = documentUpsert("good", [seededVector(1, 8)]);
  const bad = { ...documentUpsert("bad", [seededVector(2, 8)]), vectors: Buffer.alloc(31) };
  await assert.rejects(library.upsert([good, bad]), { code: "INVALID_ARGUMENT" });
  await assert.rejects(library.upsert([good], { jobId: "j", lease: 1n }), { code: "FAILED_PRECONDITION" });
  assert.deepEqual(await allDocuments(client), []);
});

test("documents that a filter names come by id, in pages, like any others", async (t) => {
  const { client, library } = await setUp(t);
  const ids = ["a", "b", "zz", "é", "\u{1f600}", "c", "Z"];
  await library.upsert(
    ids.map((id, n) => documentUpsert(id, [seededVector(n, 8)], { author: n % 2 ? "odd" : "even" })),
  );
  const named = ["\u{1f600}", "nope", "", "x".repeat(600), "é", "Z", "a", "a", "b"];
  const filter: Filter = { all: [{ field: "document_id", test: { $case: "in", value: named } }] };
  for (const pageSize of [1, 2, 1_000]) {
    assert.deepEqual(await allDocuments(client, filter, pageSize), ["Z", "a", "b", "é", "\u{1f600}"]);
  }
  const odd: Filter = { all: [...filter.all, { field: "author", test: { $case: "equals", value: "odd" } }] };
  assert.deepEqual(await allDocuments(client, odd, 1), ["b", "é"]);
  const one: Filter = { all: [{ field: "document_id", test: { $case: "equals", value: "nope" } }] };
  assert.deepEqual(await allDocuments(client, one), []);
});
