import assert from "node:assert/strict";
import { test } from "node:test";
import { embeddingId } from "../../../platform/embedding/embedding-id.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { CreateLibraryRequest } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { pageToken, readPageToken } from "../../../services/index/page-token.ts";
import type { GenerationRow } from "../../../services/index/store.ts";
import { Checks, checkedConfig, checkedQuery, checkedUpsert } from "../../../services/index/validate.ts";

function fieldsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ArrwError);
    assert.equal(error.code, "INVALID_ARGUMENT");
    return error.violations.map(({ field }) => field);
  }
  return [];
}

const good: CreateLibraryRequest = {
  libraryId: "a",
  name: "a",
  embedding: { provider: "none", model: "", dimensions: 4 },
  indexType: "hnsw",
  indexConfig: { metric: "cos", scalar: "bf16", connectivity: 16, expansionAdd: 128, expansionSearch: 64 },
};

test("a configuration lists all its faults at once", () => {
  assert.deepEqual(
    fieldsOf(() => checkedConfig(good)),
    [],
  );
  const bad = {
    ...good,
    libraryId: "a/b",
    name: "",
    embedding: { provider: "none", model: "", dimensions: 1e9 },
    indexType: "tree",
    indexConfig: {
      metric: "unknown",
      scalar: "unknown",
      connectivity: 1,
      expansionAdd: 0,
      expansionSearch: 1e6,
    },
  };
  assert.deepEqual(
    fieldsOf(() => checkedConfig(bad)),
    [
      "library_id",
      "name",
      "embedding.dimensions",
      "index_type",
      "index_config.metric",
      "index_config.scalar",
      "index_config.connectivity",
      "index_config.expansion_add",
      "index_config.expansion_search",
    ],
  );
  const magnitudes = { ...good, indexConfig: { ...good.indexConfig, metric: "l2sq", scalar: "i8" } };
  assert.deepEqual(
    fieldsOf(() => checkedConfig(magnitudes as CreateLibraryRequest)),
    ["index_config.scalar"],
  );
});

const GENERATION: GenerationRow = {
  generation: 1,
  embedding: { provider: "none", model: "", dimensions: 2 },
  embeddingId: "e",
  indexType: "hnsw",
  metric: "cos",
  scalar: "bf16",
  connectivity: 16,
  expansionAdd: 64,
  expansionSearch: 64,
  vectors: "vectors",
  createdAtMs: 0,
};

test("vectors must have the length, be finite, and fit the scalar", () => {
  const query = (values: number[], metric: "cos" | "ip", scalar: "bf16" | "f16"): string[] =>
    fieldsOf(() => {
      const checks = new Checks();
      const bytes = Buffer.from(Float32Array.from(values).buffer);
      checkedQuery(bytes, "e", { ...GENERATION, metric, scalar }, checks);
      checks.done();
    });
  assert.deepEqual(query([1, 2], "cos", "bf16"), []);
  assert.deepEqual(query([1], "cos", "bf16"), ["vector"]);
  assert.deepEqual(query([1, Number.NaN], "cos", "bf16"), ["vector"]);
  assert.deepEqual(query([1, Number.POSITIVE_INFINITY], "cos", "bf16"), ["vector"]);
  assert.deepEqual(query([1, 3e38], "cos", "f16"), []);
  assert.deepEqual(query([1, 1e16], "ip", "bf16"), ["vector"]);
  assert.deepEqual(query([1, 70_000], "ip", "bf16"), []);
  assert.deepEqual(query([1, 70_000], "ip", "f16"), ["vector"]);
});

test("an upsert names the document that is wrong, and is read at any address", () => {
  const message = Buffer.concat([Buffer.from([7]), Buffer.from(Float32Array.of(1, 2).buffer)]);
  const document = {
    documentId: "d",
    title: "",
    texts: ["t"],
    metadata: undefined,
    author: "",
    tags: [],
    vectors: [],
    sourceUrl: "",
  };
  const request = { libraryId: "a", embeddingId: "e", fence: undefined };
  const upsert = { document, vectors: message.subarray(1) };
  assert.equal(checkedUpsert({ ...request, documents: [upsert] }, GENERATION).documents.length, 1);
  const documents = [
    upsert,
    { document: { ...document, documentId: "" }, vectors: upsert.vectors },
    { document: { ...document, texts: [] }, vectors: Buffer.alloc(0) },
    { document, vectors: Buffer.alloc(9) },
    { document: { ...document, documentId: "x".repeat(513) }, vectors: upsert.vectors },
    { document: undefined, vectors: Buffer.alloc(0) },
  ];
  const fields = fieldsOf(() =>
    checkedUpsert({ ...request, fence: { jobId: "", lease: 0n }, documents }, GENERATION),
  );
  assert.deepEqual(fields, [
    "fence.job_id",
    "fence.lease",
    "documents[1].document.document_id",
    "documents[2].document.texts",
    "documents[3].vectors",
    "documents[4].document.document_id",
    "documents[5].document.document_id",
    "documents[5].document.texts",
    "documents[5].document.vectors",
  ]);
});

test("what is of another embedding is told so, whatever else is right about it", () => {
  const wrong = { ...GENERATION, embeddingId: "other" };
  const changed = { code: "ABORTED", reason: "EMBEDDING_CHANGED", metadata: { embedding_id: "other" } };
  assert.throws(() => checkedQuery(Buffer.alloc(4), "e", wrong, new Checks()), changed);
  const checks = new Checks();
  checks.that(false, "k", "wrong");
  assert.deepEqual(
    fieldsOf(() => checkedQuery(Buffer.alloc(4), "e", wrong, checks)),
    ["k"],
  );
});

test("a page token is good for its own list", () => {
  assert.equal(readPageToken("documents", pageToken("documents", "ä#\u0000")), "ä#\u0000");
  assert.equal(readPageToken("documents", ""), "");
  for (const token of ["x", "bnVsbA", pageToken("libraries", "a"), "%%%"])
    assert.deepEqual(
      fieldsOf(() => readPageToken("documents", token)),
      ["page_token"],
    );
});

test("an embedding id tells provider, model and dimensions apart", () => {
  const base = { provider: "openai", model: "small", dimensions: 256 };
  const id = embeddingId(base);
  assert.match(id, /^[0-9a-f]{32}$/);
  assert.equal(embeddingId({ ...base }), id);
  for (const other of [
    { ...base, provider: "cohere" },
    { ...base, model: "large" },
    { ...base, dimensions: 257 },
  ])
    assert.notEqual(embeddingId(other), id);
  assert.notEqual(
    embeddingId({ ...base, provider: "a", model: "bc" }),
    embeddingId({ ...base, provider: "ab", model: "c" }),
  );
});
