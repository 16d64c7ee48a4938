import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type DeepPartial, Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { CreateLibraryRequest } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { checkJobsChange } from "../../../services/gateway/domain/validation/changes.ts";
import { checkDocument } from "../../../services/gateway/domain/validation/documents.ts";
import { isDocumentId, isJobId, isName } from "../../../services/gateway/domain/validation/ids.ts";
import {
  checkCreateLibrary,
  checkListDocuments,
  checkSearch,
} from "../../../services/gateway/domain/validation/library.ts";
import { checkListJobs } from "../../../services/gateway/domain/validation/lists.ts";
import { pageSizeOf } from "../../../services/gateway/domain/validation/paging.ts";
import { checkSubmit } from "../../../services/gateway/domain/validation/submit.ts";
import { packedVector } from "../../../services/gateway/domain/validation/vector.ts";
import {
  grouped,
  type Violation,
  Violations,
} from "../../../services/gateway/domain/validation/violations.ts";
import {
  anyCreateLibrary,
  anyDocument,
  anyJobsChange,
  anyListDocuments,
  anyListJobs,
  anySearch,
  anySubmit,
} from "../../support/arbitrary-requests.ts";

const LIBRARY = { provider: "hashing", dimensions: 3, maxValue: 1e15, metric: "ip", scalar: "f32" };
const UNARY = { library: LIBRARY, streamed: false };

function submit(partial: DeepPartial<SubmitJobRequest>, streamed = false): readonly string[] {
  const request = SubmitJobRequest.fromPartial<DeepPartial<SubmitJobRequest>>(partial);
  return checkSubmit(request, { ...UNARY, streamed }).map(({ field }) => field);
}

const ECHO = { spec: { $case: "echo" as const, value: { message: "hi" } } };

function assertReadable(violations: readonly Violation[]): void {
  assert.ok(violations.length <= 100);
  for (const { field, description } of violations) {
    assert.ok(field.length > 0 && field.length < 1_000, field);
    assert.ok(description.length < 1_000);
    assert.match(description, /; got /);
  }
}

test("each bound of a submit, at it and over it", () => {
  const seconds = (value: number) => ({ seconds: BigInt(value), nanos: 0 });
  const cases: [DeepPartial<SubmitJobRequest>, string[]][] = [
    [{ spec: ECHO }, []],
    [{}, ["spec"]],
    [{ spec: ECHO, maxRetries: 0 }, []],
    [{ spec: ECHO, maxRetries: 100 }, []],
    [{ spec: ECHO, maxRetries: -1 }, ["max_retries"]],
    [{ spec: ECHO, maxRetries: 101 }, ["max_retries"]],
    [{ spec: ECHO, requestId: "x".repeat(128) }, []],
    [{ spec: ECHO, requestId: "x".repeat(129) }, ["request_id"]],
    [{ spec: ECHO, runAt: new Date(-1) }, ["run_at"]],
    [{ spec: ECHO, runAt: new Date(Number.NaN) }, ["run_at"]],
    [{ spec: ECHO, executionTimeout: seconds(0) }, ["execution_timeout"]],
    [{ spec: ECHO, executionTimeout: seconds(30 * 86_400) }, []],
    [{ spec: ECHO, executionTimeout: seconds(30 * 86_400 + 1) }, ["execution_timeout"]],
    [{ spec: ECHO, labels: { "a/b.c-d_e": "" } }, []],
    [{ spec: ECHO, labels: { "": "x" } }, ["labels"]],
    [{ spec: ECHO, labels: { k: "x".repeat(257) } }, ['labels["k"]']],
    [
      { spec: ECHO, labels: Object.fromEntries(Array.from({ length: 17 }, (_, at) => [`k${at}`, ""])) },
      ["labels"],
    ],
    [{ spec: { spec: { $case: "echo", value: { message: "é".repeat(8_192) } } } }, []],
    [{ spec: { spec: { $case: "echo", value: { message: "é".repeat(8_193) } } } }, ["spec.echo.message"]],
    [
      { spec: { spec: { $case: "echo", value: { steps: -1, failTimes: -1 } } } },
      ["spec.echo.steps", "spec.echo.fail_times"],
    ],
    [{ spec: { spec: { $case: "echo", value: { sleep: seconds(-1) } } } }, ["spec.echo.sleep"]],
    [{ spec: { spec: { $case: "batchImport", value: {} } } }, ["library_id", "spec.batch_import.documents"]],
    [
      {
        libraryId: "l",
        spec: { spec: { $case: "batchImport", value: { chunkSize: -1, documents: [{ texts: ["x"] }] } } },
      },
      ["spec.batch_import.chunk_size"],
    ],
    [
      {
        libraryId: "l",
        spec: {
          spec: { $case: "batchImport", value: { chunkOverlap: 1_000, documents: [{ texts: ["x"] }] } },
        },
      },
      ["spec.batch_import.chunk_overlap"],
    ],
    [
      {
        libraryId: "l",
        spec: {
          spec: {
            $case: "batchImport",
            value: { chunkSize: 1, chunkOverlap: 0, documents: [{ texts: ["x"] }] },
          },
        },
      },
      [],
    ],
  ];
  for (const [partial, fields] of cases) assert.deepEqual(submit(partial), fields, JSON.stringify(fields));
});

test("the header of a stream", () => {
  assert.deepEqual(submit({ libraryId: "l" }, true), []);
  assert.deepEqual(submit({ libraryId: "l", spec: { spec: { $case: "batchImport", value: {} } } }, true), []);
  assert.deepEqual(submit({}, true), ["library_id"]);
  assert.deepEqual(submit({ libraryId: "l", spec: ECHO }, true), ["spec"]);
  const documents = [{ texts: ["x"] }];
  const filled = { libraryId: "l", spec: { spec: { $case: "batchImport" as const, value: { documents } } } };
  assert.deepEqual(submit(filled, true), ["spec.batch_import.documents"]);
});

test("each bound of a document", () => {
  const check = (partial: DeepPartial<Document>, provider = "hashing"): string[] => {
    const violations = new Violations();
    const document = Document.fromPartial<DeepPartial<Document>>({ texts: ["x"], ...partial });
    checkDocument("d", document, { ...LIBRARY, provider }, violations);
    return violations.list.map(({ field }) => field);
  };
  let deep: unknown = 1;
  for (let level = 0; level < 33; level++) deep = { deep };
  const cases: [DeepPartial<Document>, string[]][] = [
    [{}, []],
    [{ texts: [] }, ["d.texts"]],
    [{ texts: ["x", "", ""] }, ["d.texts[1]", "d.texts[2]"]],
    [{ texts: Array.from({ length: 10_001 }, () => "x") }, ["d.texts"]],
    [{ documentId: "x".repeat(512) }, []],
    [{ documentId: "x".repeat(513) }, ["d.document_id"]],
    [
      { title: "x".repeat(4_097), author: "x".repeat(1_025), sourceUrl: "x".repeat(4_097) },
      ["d.title", "d.author", "d.source_url"],
    ],
    [{ tags: ["", "x".repeat(257)] }, ["d.tags[0]", "d.tags[1]"]],
    [{ metadata: { a: { b: [1, "x", null, true] } } }, []],
    [{ metadata: { a: { b: [Number.NaN] } } }, ["d.metadata.a.b.0"]],
    [{ metadata: { text: "x".repeat(65_536) } }, ["d.metadata"]],
    [{ metadata: deep as Record<string, unknown> }, [`d.metadata${".deep".repeat(32)}`]],
    [{ vectors: [{ values: [1, 2, 3] }] }, []],
    [{ vectors: [{ packed: Buffer.alloc(12) }] }, []],
    [{ vectors: [{ values: [1, 2, 3], packed: Buffer.alloc(12) }] }, ["d.vectors[0]"]],
    [{ vectors: [{ values: [1, 2] }] }, ["d.vectors[0]"]],
    [{ vectors: [{ values: [1, 2, Infinity] }] }, ["d.vectors[0]"]],
    [{ vectors: [{ packed: Buffer.from(new Float32Array([1, 2, Number.NaN]).buffer) }] }, ["d.vectors[0]"]],
    [{ vectors: [{ packed: Buffer.from(new Float32Array([1, -Infinity, 3]).buffer) }] }, ["d.vectors[0]"]],
    [{ vectors: [{ packed: Buffer.from(new Float32Array([1, -1e14, 3]).buffer) }] }, []],
    [{ vectors: [{ values: [1, 2, 1e16] }] }, ["d.vectors[0]"]],
    [{ texts: ["x", "y"], vectors: [{ values: [1, 2, 3] }] }, ["d.vectors"]],
  ];
  for (const [partial, fields] of cases) assert.deepEqual(check(partial), fields);
  assert.deepEqual(check({}, "none"), ["d.vectors"]);
});

test("ids: what may be one", () => {
  for (const name of ["a", "A.b_c-9", "x".repeat(128), "0"]) assert.ok(isName(name), name);
  for (const name of ["", "-a", ".a", "a b", "x".repeat(129), "é", "a/b"]) assert.ok(!isName(name), name);
  assert.ok(isJobId("0190a6e2-7a4e-7c3a-8000-000000000000") && !isJobId("") && !isJobId("a b"));
  assert.ok(isDocumentId("é".repeat(256)) && !isDocumentId("é".repeat(257)) && !isDocumentId(""));
});

test("pages: default and bound", () => {
  assert.deepEqual([0, 1, 1_000, 5_000].map(pageSizeOf), [50, 1, 1_000, 1_000]);
  const page = { filter: undefined, pageToken: "", pageSize: -1 };
  assert.deepEqual(
    checkListJobs(page).map(({ field }) => field),
    ["page_size"],
  );
});

test("what is a library's default needs no check, what is set does", () => {
  const check = (partial: DeepPartial<CreateLibraryRequest>): string[] =>
    checkCreateLibrary(CreateLibraryRequest.fromPartial<DeepPartial<CreateLibraryRequest>>(partial), [
      "hashing",
      "openai",
      "none",
    ]).map(({ field }) => field);
  assert.deepEqual(check({}), []);
  assert.deepEqual(check({ embedding: {} }), ["embedding.dimensions"]);
  assert.deepEqual(check({ embedding: { dimensions: 16_384 } }), []);
  assert.deepEqual(check({ embedding: { dimensions: 16_385 } }), ["embedding.dimensions"]);
  assert.deepEqual(check({ embedding: { provider: "openai" } }), ["embedding.model", "embedding.dimensions"]);
  assert.deepEqual(check({ embedding: { provider: "openai", model: "small", dimensions: 8 } }), []);
  assert.deepEqual(check({ embedding: { provider: "cohere", model: "small", dimensions: 8 } }), [
    "embedding.provider",
  ]);
  assert.deepEqual(check({ indexConfig: { scalar: "i8" } }), []);
  assert.deepEqual(check({ indexConfig: { scalar: "i8", metric: "ip" } }), ["index_config.scalar"]);
  assert.deepEqual(check({ indexConfig: { connectivity: 129 } }), ["index_config.connectivity"]);
});

test("vectors: packed is the same as values", () => {
  fc.assert(
    fc.property(fc.array(fc.float({ noNaN: true }), { minLength: 1, maxLength: 50 }), (values) => {
      const packed = packedVector({ values, packed: Buffer.alloc(0) });
      assert.deepEqual([...new Float32Array(new Uint8Array(packed).buffer)], values);
    }),
  );
});

test("whatever comes, the checks answer with readable violations", () => {
  fc.assert(
    fc.property(anySubmit, fc.boolean(), (request, streamed) => {
      assertReadable(checkSubmit(request, { ...UNARY, streamed }));
    }),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anySearch, (request) => assertReadable(checkSearch(request, undefined))),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anyCreateLibrary, (request) => assertReadable(checkCreateLibrary(request, ["hashing"]))),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anyListDocuments, (request) => assertReadable(checkListDocuments(request))),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anyListJobs, (request) => assertReadable(checkListJobs(request))),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anyJobsChange, (change) => assertReadable(checkJobsChange(change))),
    { numRuns: 100 },
  );
  fc.assert(
    fc.property(anyDocument, (document) => {
      const violations = new Violations();
      checkDocument("d", Document.fromPartial<DeepPartial<Document>>(document), LIBRARY, violations);
      assertReadable(violations.list);
    }),
    { numRuns: 100 },
  );
});

test("numbers in texts are grouped", () => {
  assert.deepEqual([0, 999, 1_000, -1_234_567].map(grouped), ["0", "999", "1,000", "-1,234,567"]);
});
