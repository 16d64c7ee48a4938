import fc from "fast-check";
import type { SubmitJobRequest } from "../../proto/gen/arrwdb/v1/jobs.ts";

/** Requests that are nearly right: values at, over and far over the bounds, and bytes that are no message. */

/** One of the usual suspects where a number is expected. */
export const anyInt32 = fc.oneof(
  fc.constantFrom(0, 1, -1, 2, 100, 1_000, 10_000, 10_001, 2_147_483_647, -2_147_483_648),
  fc.integer({ min: -2_147_483_648, max: 2_147_483_647 }),
);
export const anyText = fc.oneof(
  fc.constantFrom(
    "",
    "docs",
    "lib-1",
    "hashing",
    "none",
    "__proto__",
    "constructor",
    "\u0000",
    "\ud800",
    "🦊",
  ),
  fc.string({ maxLength: 200, unit: "binary" }),
  fc.constantFrom("x", "é").map((text) => text.repeat(33_000)),
);
export const anyDouble = fc.oneof(fc.constantFrom(Number.NaN, Infinity, -Infinity, 0, -0), fc.double());
const anyFloats = fc.array(fc.oneof(fc.constantFrom(Number.NaN, Infinity, -Infinity, 0), fc.float()), {
  maxLength: 20,
});
export const anyBytes = fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes));
export const anyTime = fc.oneof(
  fc.constant(undefined),
  fc.date({ min: new Date(0), max: new Date(253_402_300_799_000), noInvalidDate: true }),
);
const anyDuration = fc.option(
  fc.record({ seconds: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), nanos: anyInt32 }),
  { nil: undefined },
);
const anyVector = fc.record({ values: anyFloats, packed: anyBytes });
const anyLabels = fc.dictionary(anyText, anyText, { maxKeys: 20 });
const anyMetadata = fc.option(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 5 }), { maxKeys: 5 }), {
  nil: undefined,
});

export const anyDocument = fc.record({
  documentId: anyText,
  title: anyText,
  texts: fc.array(anyText, { maxLength: 4 }),
  metadata: anyMetadata,
  author: anyText,
  tags: fc.array(anyText, { maxLength: 4 }),
  vectors: fc.array(anyVector, { maxLength: 3 }),
  sourceUrl: anyText,
});

export const anyEmbedding = fc.option(
  fc.record({ provider: anyText, model: anyText, dimensions: anyInt32 }),
  {
    nil: undefined,
  },
);
export const anyIndexConfig = fc.option(
  fc.record({
    metric: fc.oneof(fc.constantFrom("", "cos", "ip"), anyText),
    scalar: fc.oneof(fc.constantFrom("", "f32", "bf16"), anyText),
    connectivity: anyInt32,
    expansionAdd: anyInt32,
    expansionSearch: anyInt32,
  }),
  { nil: undefined },
);

export const anyFilter = fc.option(
  fc.record({
    all: fc.array(
      fc.record({
        field: fc.oneof(fc.constantFrom("title", "tags", "metadata.a.b", "metadata."), anyText),
        test: fc.option(
          fc.oneof(
            fc.record({ $case: fc.constant("equals" as const), value: fc.jsonValue({ maxDepth: 2 }) }),
            fc.record({
              $case: fc.constant("in" as const),
              value: fc.array(fc.jsonValue({ maxDepth: 1 }), { maxLength: 4 }),
            }),
            fc.record({
              $case: fc.constant("range" as const),
              value: fc.record({
                gte: fc.option(anyDouble, { nil: undefined }),
                gt: fc.constant(undefined),
                lte: fc.option(anyDouble, { nil: undefined }),
                lt: fc.constant(undefined),
              }),
            }),
            fc.record({ $case: fc.constant("exists" as const), value: fc.boolean() }),
          ),
          { nil: undefined },
        ),
      }),
      { maxLength: 4 },
    ),
  }),
  { nil: undefined },
);

const anySpec = fc.option(
  fc.oneof(
    fc.record({
      $case: fc.constant("echo" as const),
      value: fc.record({
        message: anyText,
        sleep: anyDuration,
        steps: anyInt32,
        failTimes: anyInt32,
        failPermanently: fc.boolean(),
        snoozeTimes: anyInt32,
        snooze: anyDuration,
      }),
    }),
    fc.record({
      $case: fc.constant("batchImport" as const),
      value: fc.record({
        documents: fc.array(anyDocument, { maxLength: 3 }),
        chunkSize: anyInt32,
        chunkOverlap: fc.option(anyInt32, { nil: undefined }),
      }),
    }),
    fc.record({ $case: fc.constant("indexOptimize" as const), value: fc.constant({}) }),
    fc.record({
      $case: fc.constant("batchDelete" as const),
      value: fc.record({ documentIds: fc.array(anyText, { maxLength: 3 }), filter: anyFilter }),
    }),
  ),
  { nil: undefined },
);

const anyRetryPolicy = fc.option(
  fc.record({
    backoffInitial: anyDuration,
    backoffMax: anyDuration,
    backoffMultiplier: anyDouble,
    jitter: fc.option(anyDouble, { nil: undefined }),
  }),
  { nil: undefined },
);

export const anySubmit = fc
  .record({
    requestId: anyText,
    libraryId: anyText,
    spec: anySpec.map((spec) => ({ spec })),
    maxRetries: fc.option(anyInt32, { nil: undefined }),
    runAt: anyTime,
    executionTimeout: anyDuration,
    labels: anyLabels,
    retryPolicy: anyRetryPolicy,
    totalTimeout: anyDuration,
    concurrencyKey: anyText,
    concurrencyLimit: anyInt32,
  })
  .map((request): SubmitJobRequest => request);

export const anySearch = fc.record({
  libraryId: anyText,
  query: fc.option(
    fc.oneof(
      fc.record({ $case: fc.constant("text" as const), value: anyText }),
      fc.record({ $case: fc.constant("vector" as const), value: anyVector }),
    ),
    { nil: undefined },
  ),
  k: anyInt32,
  efSearch: anyInt32,
  filter: anyFilter,
  includeText: fc.boolean(),
  exact: fc.boolean(),
});

export const anyCreateLibrary = fc.record({
  libraryId: anyText,
  name: anyText,
  embedding: anyEmbedding,
  indexType: anyText,
  indexConfig: anyIndexConfig,
});

export const anyListDocuments = fc.record({
  libraryId: anyText,
  filter: anyFilter,
  pageSize: anyInt32,
  pageToken: anyText,
  includeTexts: fc.boolean(),
});

const anyJobFilter = fc.option(
  fc.record({
    statuses: fc.array(anyInt32 as fc.Arbitrary<1>, { maxLength: 3 }),
    types: fc.array(anyText, { maxLength: 3 }),
    libraryId: anyText,
    labels: anyLabels,
    createdAfter: anyTime,
    createdBefore: anyTime,
  }),
  { nil: undefined },
);

export const anyListJobs = fc.record({ filter: anyJobFilter, pageSize: anyInt32, pageToken: anyText });

/** Of CancelJobs, RetryJobs and DeleteJobs. */
export const anyJobsChange = fc.record({
  filter: anyJobFilter,
  all: fc.boolean(),
  limit: anyInt32,
  reason: anyText,
  fromCheckpoint: fc.boolean(),
});

/** Well-formed bytes with some of them changed, left out or doubled. */
export function mutated(bytes: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Buffer> {
  const edit = fc.record({
    at: fc.nat(),
    byte: fc.nat({ max: 255 }),
    kind: fc.constantFrom("set", "cut", "double"),
  });
  return fc.tuple(bytes, fc.array(edit, { maxLength: 4 })).map(([source, edits]) => {
    let result = Buffer.from(source);
    for (const { at, byte, kind } of edits) {
      if (result.length === 0) result = Buffer.from([byte]);
      const index = at % result.length;
      if (kind === "set") result[index] = byte;
      else if (kind === "cut") result = Buffer.from(result.subarray(0, index));
      else result = Buffer.concat([result, result.subarray(index)]);
    }
    return result;
  });
}
