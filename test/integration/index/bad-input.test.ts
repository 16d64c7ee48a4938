import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import type { Condition, Vector } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const call = { timeoutMs: 10_000 };
const int32 = fc.oneof(
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.integer({ min: -2, max: 200 }),
  fc.constantFrom(0, 1, 10_000, 16_384, 2 ** 31 - 1),
);
const int64 = fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.bigInt(0n, 5n));
const text = fc.oneof(
  fc.string(),
  fc.string({ unit: "binary" }),
  fc.constantFrom("", "a", "\u0000", "x".repeat(2_000)),
);
const word = (...words: string[]) => fc.oneof(fc.constantFrom(...words), text);
const fence = fc.option(fc.record({ jobId: text, lease: int64 }), { nil: undefined });
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((each) => Buffer.from(each)),
  fc.array(fc.float(), { minLength: 4, maxLength: 8 }).map((each) => packed(Float32Array.from(each))),
);
const value = fc.oneof(text, fc.double(), fc.boolean(), fc.constant(null), fc.constant({ a: [1] }));
const condition: fc.Arbitrary<Condition> = fc.record({
  field: word("title", "tags", "metadata.a", "document_id", "metadata.__proto__", "metadata"),
  test: fc.oneof(
    fc.constant(undefined),
    value.map((each) => ({ $case: "equals" as const, value: each })),
    fc.array(value, { maxLength: 4 }).map((each) => ({ $case: "in" as const, value: each })),
    fc
      .record({ gt: fc.double(), lte: fc.double() })
      .map((each) => ({ $case: "range" as const, value: each })),
    fc.boolean().map((each) => ({ $case: "exists" as const, value: each })),
  ),
});
const filter = fc.option(fc.record({ all: fc.array(condition, { maxLength: 3 }) }), { nil: undefined });
const document = fc.option(
  fc.record({
    documentId: text,
    title: text,
    texts: fc.array(text, { maxLength: 3 }),
    metadata: fc.option(fc.dictionary(text, fc.jsonValue()), { nil: undefined }),
    author: text,
    tags: fc.array(text, { maxLength: 3 }),
    vectors: fc.constant<Vector[]>([]),
    sourceUrl: text,
  }),
  { nil: undefined },
);

test("whatever comes in, the answer is no crash and no INTERNAL", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const { client } = service;
  const library = await TestLibrary.create(client, libraryRequest("a", 4));
  const { embeddingId } = library;
  await library.upsert([documentUpsert("d", [seededVector(1, 4)])]);
  const libraryId = fc.oneof({ weight: 4, arbitrary: fc.constant("a") }, { weight: 1, arbitrary: text });
  const embedding = fc.oneof(
    { weight: 4, arbitrary: fc.constant(embeddingId) },
    { weight: 1, arbitrary: text },
  );
  const requests = fc.oneof(
    fc
      .record({
        libraryId: fc.string({ minLength: 1, maxLength: 3 }),
        name: text,
        embedding: fc.option(fc.record({ provider: word("none"), model: text, dimensions: int32 }), {
          nil: undefined,
        }),
        indexType: word("hnsw", "flat"),
        indexConfig: fc.option(
          fc.record({
            metric: word("cos", "ip", "l2sq", "unknown", "jaccard"),
            scalar: word("bf16", "f32", "i8", "unknown"),
            connectivity: int32,
            expansionAdd: int32,
            expansionSearch: int32,
          }),
          { nil: undefined },
        ),
      })
      .map((request) => () => unary(client, client.createLibrary, request, call)),
    fc
      .record({ libraryId, documentId: text, includeVectors: fc.boolean() })
      .map((request) => () => unary(client, client.getDocument, request, call)),
    fc
      .record({ pageSize: int32, pageToken: text, visibleLibraries: fc.array(text) })
      .map((request) => () => unary(client, client.listLibraries, request, call)),
    fc
      .record({ libraryId, filter, pageSize: int32, pageToken: text, includeTexts: fc.boolean() })
      .map((request) => () => unary(client, client.listDocuments, request, call)),
    fc
      .record({
        libraryId,
        fence,
        embeddingId: embedding,
        documents: fc.array(fc.record({ document, vectors: bytes }), { maxLength: 3 }),
      })
      .map((request) => () => unary(client, client.upsertDocuments, request, call)),
    fc
      .record({
        libraryId,
        fence,
        documentIds: fc.array(
          text.filter((id) => id !== "d"),
          { maxLength: 4 },
        ),
      })
      .map((request) => () => unary(client, client.deleteDocuments, request, call)),
    fc
      .record({
        libraryId,
        embeddingId: embedding,
        vector: bytes,
        k: int32,
        efSearch: int32,
        filter,
        includeText: fc.boolean(),
        exact: fc.boolean(),
      })
      .map((request) => () => unary(client, client.search, request, call)),
    fc.record({ libraryId, fence }).map((request) => () => unary(client, client.beginLease, request, call)),
    fc.record({ libraryId, fence }).map((request) => () => unary(client, client.endLease, request, call)),
  );
  const allowed = new Set([
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "ABORTED",
  ]);
  await fc.assert(
    fc.asyncProperty(requests, async (send) => {
      try {
        await send();
      } catch (error) {
        assert.ok(error instanceof ArrwError);
        assert.ok(allowed.has(error.code), `${error.code}: ${error.message}`);
      }
    }),
    { numRuns: 4_000, interruptAfterTimeLimit: 40_000, markInterruptAsFailure: true },
  );
  const { hits } = await library.search(seededVector(1, 4), 100);
  assert.ok(hits.some(({ documentId, score }) => documentId === "d" && score === 1));
});

test("input that kills usearch is refused by field", async (t) => {
  const service = await startIndexService();
  t.after(() => service.stop());
  const library = await TestLibrary.create(service.client, libraryRequest("a", 4));
  await library.upsert([documentUpsert("d", [seededVector(1, 4)])]);
  const refused = async (attempt: Promise<unknown>, ...fields: string[]): Promise<void> => {
    const error = await attempt.then(
      () => assert.fail("accepted"),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ArrwError);
    assert.equal(error.code, "INVALID_ARGUMENT");
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      fields,
    );
  };
  const query = seededVector(1, 4);
  await refused(library.search(query, 0), "k");
  await refused(library.search(query, 10_001), "k");
  await refused(library.search(query, -1), "k");
  await refused(library.search(query, 1, { efSearch: 10_001 }), "ef_search");
  await refused(library.search(Float32Array.of(1, 2, Number.NaN, 4), 0), "k", "vector");
  await refused(library.search(Float32Array.of(1, 2, 3), 1), "vector");
  await refused(
    library.upsert([documentUpsert("e", [Float32Array.of(1, 2, 3, Number.POSITIVE_INFINITY)])]),
    "documents[0].vectors",
  );
});
