import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { EchoSpec, RetryPolicy, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { documentDigest } from "../../../services/gateway/document-digest.ts";
import { canonicalDocument, canonicalRequest } from "../../../services/gateway/domain/digest.ts";
import { anySubmit } from "../../support/arbitrary-requests.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function shuffled(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shuffled);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, child]) => [key, shuffled(child)]),
  );
}

test("the order of metadata's keys makes no difference, their values do", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 }), { maxKeys: 6 }), (metadata) => {
      const one = Document.fromPartial({ texts: ["x"], metadata });
      const two = Document.fromPartial({
        texts: ["x"],
        metadata: shuffled(metadata) as Record<string, unknown>,
      });
      assert.equal(hex(canonicalDocument(one)), hex(canonicalDocument(two)));
      const other = Document.fromPartial({ texts: ["x"], metadata: { ...metadata, more: 1, other: 2 } });
      assert.notEqual(hex(canonicalDocument(one)), hex(canonicalDocument(other)));
    }),
  );
});

test("a document counts the same whether it is decoded or not", () => {
  const anyDocument = fc.record({
    documentId: fc.string(),
    texts: fc.array(fc.string()),
    metadata: fc.option(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), { nil: undefined }),
    tags: fc.array(fc.string()),
    vectors: fc.array(fc.record({ values: fc.array(fc.integer()) }), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(anyDocument, (given) => {
      const { metadata } = given;
      const bytes = Document.encode(Document.fromPartial({ ...given, metadata })).finish();
      const mixed = shuffled(metadata) as typeof metadata;
      const other = Document.encode(Document.fromPartial({ ...given, metadata: mixed })).finish();
      const decoded = hex(canonicalDocument(Document.decode(bytes)));
      assert.equal(hex(documentDigest(bytes)), decoded);
      assert.equal(hex(documentDigest(other)), decoded);
      if (!metadata) return;
      // Metadata in two parts, which a decoder merges.
      const more = Document.encode(Document.fromPartial({ metadata: { more: 1 } })).finish();
      const twice = Buffer.concat([bytes, more]);
      assert.equal(hex(documentDigest(twice)), hex(canonicalDocument(Document.decode(twice))));
    }),
    { numRuns: 200 },
  );
});

test("what is no document counts as it came", () => {
  for (const bytes of [Buffer.from([0x22, 0x7f, 1]), Buffer.from([0x22, 2, 0x0a, 0x7f]), Buffer.from([0xff])])
    assert.equal(hex(documentDigest(bytes)), hex(bytes));
});

test("a request is the same after it went over the wire, its labels in any order", () => {
  fc.assert(
    fc.property(anySubmit, (request) => {
      const decoded = SubmitJobRequest.decode(SubmitJobRequest.encode(request).finish());
      const labels = Object.fromEntries(Object.entries(decoded.labels).reverse());
      assert.equal(hex(canonicalRequest(decoded)), hex(canonicalRequest({ ...decoded, labels })));
    }),
    { numRuns: 100 },
  );
});

test("every field of a request counts", () => {
  const base = SubmitJobRequest.fromPartial({
    requestId: "r",
    spec: { spec: { $case: "echo", value: { message: "x" } } },
  });
  const others = [
    { ...base, libraryId: "l" },
    { ...base, maxRetries: 0 },
    { ...base, runAt: new Date(0) },
    { ...base, labels: { k: "v" } },
    { ...base, executionTimeout: { seconds: 1n, nanos: 0 } },
    { ...base, totalTimeout: { seconds: 1n, nanos: 0 } },
    { ...base, concurrencyKey: "k" },
    { ...base, concurrencyKey: "k", concurrencyLimit: 2 },
    ...[
      {},
      { backoffInitial: { seconds: 1n, nanos: 0 } },
      { backoffMax: { seconds: 1n, nanos: 0 } },
      { backoffMultiplier: 3 },
      { jitter: 0 },
    ].map((policy) => ({ ...base, retryPolicy: RetryPolicy.fromPartial(policy) })),
    ...[{ snoozeTimes: 1 }, { snooze: { seconds: 1n, nanos: 0 } }].map((fields) => {
      const value = EchoSpec.fromPartial({ message: "x", ...fields } as never);
      return { ...base, spec: { spec: { $case: "echo" as const, value } } };
    }),
    SubmitJobRequest.fromPartial({
      requestId: "r",
      spec: { spec: { $case: "echo", value: { message: "y" } } },
    }),
  ];
  const digests = new Set([base, ...others].map((request) => hex(canonicalRequest(request))));
  assert.equal(digests.size, others.length + 1);
});
