import assert from "node:assert/strict";
import { test } from "node:test";
import type { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import {
  CreateLibraryRequest,
  type DeepPartial,
  ListDocumentsRequest,
  SearchRequest,
} from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { startTestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 5_000 };

async function errorOf(call: Promise<unknown>): Promise<ArrwError> {
  return (await call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => error,
  )) as ArrwError;
}

test("an empty request makes a library with every default", async (t) => {
  const { libraries } = await startTestGateway(t);
  const request = CreateLibraryRequest.fromPartial({});
  const { library } = await unary(libraries, libraries.createLibrary, request, CALL);
  assert.match(library?.libraryId ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(library?.name, library?.libraryId);
  const { provider, model, dimensions } = library?.embedding ?? {};
  assert.deepEqual([provider, model, dimensions], ["hashing", "ngram-v1", 256]);
  assert.equal(library?.indexType, "hnsw");
  const { metric, scalar, connectivity, expansionAdd, expansionSearch } = library?.indexConfig ?? {};
  assert.deepEqual(
    [metric, scalar, connectivity, expansionAdd, expansionSearch],
    ["cos", "bf16", 16, 128, 64],
  );
});

test("a wrong configuration: every violation", async (t) => {
  const { libraries } = await startTestGateway(t);
  const request = CreateLibraryRequest.fromPartial({
    libraryId: "no spaces",
    name: "-x",
    embedding: { provider: "magic", dimensions: 0 },
    indexType: "tree",
    indexConfig: {
      metric: "manhattan",
      scalar: "f8",
      connectivity: 1,
      expansionAdd: -1,
      expansionSearch: 10_001,
    },
  });
  const error = await errorOf(unary(libraries, libraries.createLibrary, request, CALL));
  assert.equal(error.code, "INVALID_ARGUMENT");
  assert.deepEqual(
    error.violations.map(({ field }) => field),
    [
      "library_id",
      "name",
      "embedding.provider",
      "embedding.dimensions",
      "index_type",
      "index_config.metric",
      "index_config.scalar",
      "index_config.connectivity",
      "index_config.expansion_add",
      "index_config.expansion_search",
    ],
  );
  const huge = CreateLibraryRequest.fromPartial({ embedding: { provider: "none", dimensions: 1e9 } });
  const { violations } = await errorOf(unary(libraries, libraries.createLibrary, huge, CALL));
  assert.deepEqual(violations, [{ field: "embedding.dimensions", description: "1..16,384; got 1000000000" }]);
});

test("a text is embedded as the library's texts are, a vector goes as it is", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 256);
  const byText = SearchRequest.fromPartial({
    libraryId: "docs",
    query: { $case: "text", value: "hello" },
    k: 3,
  });
  await unary(libraries, libraries.search, byText, CALL);
  const vector = { values: Array.from({ length: 256 }, (_, at) => at) };
  const byVector = SearchRequest.fromPartial({
    libraryId: "lib-1",
    query: { $case: "vector", value: vector },
    k: 3,
  });
  await unary(libraries, libraries.search, byVector, CALL);
  const [first, second] = index.searches;
  assert.equal(first?.libraryId, "lib-1");
  assert.equal(first?.vector.length, 1_024);
  assert.ok(first?.vector.some((byte) => byte !== 0));
  assert.equal(second?.vector.readFloatLE(4 * 255), 255);
  assert.equal(second?.embeddingId, "embedding-1");
});

test("a search survives that the library is embedded anew", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 256);
  const request = SearchRequest.fromPartial({
    libraryId: "docs",
    query: { $case: "text", value: "x" },
    k: 1,
  });
  await unary(libraries, libraries.search, request, CALL);
  index.embeddingId = "embedding-2";
  await unary(libraries, libraries.search, request, CALL);
  assert.deepEqual(
    index.searches.map(({ embeddingId }) => embeddingId),
    ["embedding-1", "embedding-1", "embedding-2"],
  );
});

test("wrong searches name the field", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 4);
  index.add("lib-2", "vectors", "none", 4);
  const text = { $case: "text" as const, value: "x" };
  const cases: [DeepPartial<SearchRequest>, string][] = [
    [{ query: text, k: 0 }, "k"],
    [{ query: text, k: 4_294_967_295 | 0 }, "k"],
    [{ query: text, k: 10_001 }, "k"],
    [{ query: text, k: 1, efSearch: -1 }, "ef_search"],
    [{ k: 1 }, "query"],
    [{ query: { $case: "text", value: "" }, k: 1 }, "text"],
    [{ query: { $case: "text", value: "x".repeat(32_769) }, k: 1 }, "text"],
    [{ query: { $case: "vector", value: {} }, k: 1 }, "vector"],
    [{ query: { $case: "vector", value: { values: [1] } }, k: 1 }, "vector"],
    [{ query: { $case: "vector", value: { values: [1, 2, 3, Number.NaN] } }, k: 1 }, "vector"],
    [{ query: { $case: "vector", value: { packed: Buffer.alloc(15) } }, k: 1 }, "vector.packed"],
    [{ libraryId: "vectors", query: text, k: 1 }, "text"],
    [
      { query: text, k: 1, filter: { all: [{ field: "size", test: { $case: "exists", value: true } }] } },
      "filter.all[0].field",
    ],
    [{ query: text, k: 1, filter: { all: [{ field: "title" }] } }, "filter.all[0]"],
    [
      { query: text, k: 1, filter: { all: [{ field: "metadata.a", test: { $case: "range", value: {} } }] } },
      "filter.all[0].range",
    ],
  ];
  for (const [partial, field] of cases) {
    const request = SearchRequest.fromPartial<DeepPartial<SearchRequest>>({ libraryId: "docs", ...partial });
    const error = await errorOf(unary(libraries, libraries.search, request, CALL));
    assert.equal(error.code, "INVALID_ARGUMENT", field);
    assert.deepEqual(
      error.violations.map((violation) => violation.field),
      [field],
    );
  }
  assert.equal(index.searches.length, 0);
});

test("unknown and malformed ids are NOT_FOUND", async (t) => {
  const { libraries, jobs, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 4);
  for (const libraryId of ["", "nowhere", "no spaces", "x".repeat(500)]) {
    const query = { $case: "vector" as const, value: { values: [1, 2, 3, 4] } };
    const calls = [
      unary(libraries, libraries.getLibrary, { libraryId }, CALL),
      unary(libraries, libraries.deleteLibrary, { libraryId }, CALL),
      unary(libraries, libraries.listDocuments, ListDocumentsRequest.fromPartial({ libraryId }), CALL),
      unary(libraries, libraries.search, SearchRequest.fromPartial({ libraryId, query, k: 1 }), CALL),
    ];
    for (const call of calls) assert.equal((await errorOf(call)).reason, "LIBRARY_NOT_FOUND");
  }
  const documentId = "x".repeat(513);
  const get = { libraryId: "docs", documentId, includeVectors: false };
  assert.equal(
    (await errorOf(unary(libraries, libraries.getDocument, get, CALL))).reason,
    "DOCUMENT_NOT_FOUND",
  );
  const remove = { libraryId: "docs", documentId: "d" };
  assert.equal(
    (await errorOf(unary(libraries, libraries.deleteDocument, remove, CALL))).reason,
    "DOCUMENT_NOT_FOUND",
  );
  for (const jobId of ["", "nobody", "no body", "x".repeat(500)]) {
    assert.equal((await errorOf(unary(jobs, jobs.getJob, { jobId }, CALL))).reason, "JOB_NOT_FOUND");
    const cancel = unary(jobs, jobs.cancelJob, { jobId, reason: "" }, CALL);
    assert.equal((await errorOf(cancel)).reason, "JOB_NOT_FOUND");
  }
});

test("a deleted library is forgotten at once", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 256);
  const search = SearchRequest.fromPartial({ libraryId: "docs", query: { $case: "text", value: "x" }, k: 1 });
  await unary(libraries, libraries.search, search, CALL);
  await unary(libraries, libraries.deleteLibrary, { libraryId: "lib-1" }, CALL);
  assert.equal((await errorOf(unary(libraries, libraries.search, search, CALL))).code, "NOT_FOUND");
});
