import assert from "node:assert/strict";
import { test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import { type DeepPartial, SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Library, SearchRequest } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { startTestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 5_000 };

const ofText = (text: string) => search({ $case: "text", value: text });
const ofVector = (dimensions: number) =>
  search({ $case: "vector", value: { values: Array(dimensions).fill(0.5), packed: Buffer.alloc(0) } });

function search(query: NonNullable<SearchRequest["query"]>): SearchRequest {
  return { ...SearchRequest.fromPartial({ libraryId: "docs", k: 1 }), query };
}

test("a search right after the swap to another embedding has the new one's vector", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  index.add("lib-1", "docs", "hashing", 16);
  index.embeddingId = "embedding-2";
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  const [before, refused, after] = index.searches;
  assert.deepEqual([before?.vector.length, refused?.vector.length, after?.vector.length], [32, 32, 64]);
  assert.equal(after?.embeddingId, "embedding-2");
  assert.equal(index.searches.length, 3);
});

test("of many searches at the moment of a swap none is refused", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  index.add("lib-1", "docs", "hashing", 16);
  index.embeddingId = "embedding-2";
  await Promise.all(
    Array.from({ length: 20 }, () => unary(libraries, libraries.search, ofText("tea"), CALL)),
  );
  assert.equal(index.searches.at(-1)?.embeddingId, "embedding-2");
});

test("vectors and texts that fit the library since a moment ago are taken at once", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "none", 8);
  await unary(libraries, libraries.search, ofVector(8), CALL);
  index.add("lib-1", "docs", "none", 3);
  await unary(libraries, libraries.search, ofVector(3), CALL);
  assert.equal(index.searches.at(-1)?.vector.length, 12);
  index.add("lib-1", "docs", "hashing", 3);
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  await assert.rejects(unary(libraries, libraries.search, ofVector(8), CALL), {
    code: "INVALID_ARGUMENT",
    message: "vector: 3 dimensions; got 8",
  });
});

test("a search that is wrong whatever the library is asks nobody", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 8);
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  const { asked } = index;
  for (let n = 0; n < 3; n++) {
    await assert.rejects(unary(libraries, libraries.search, ofText(""), CALL), { code: "INVALID_ARGUMENT" });
  }
  assert.equal(index.asked, asked);
  await assert.rejects(unary(libraries, libraries.search, ofVector(3), CALL), { code: "INVALID_ARGUMENT" });
  assert.equal(index.asked, asked + 1, "what does not fit the library is judged by what it is now");
});

test("a submit is judged by what the library is now", async (t) => {
  const { jobs, index, scheduler } = await startTestGateway(t);
  const importOf = (dimensions: number) =>
    submitOf({
      $case: "batchImport",
      value: { documents: [{ texts: ["a"], vectors: [{ packed: Buffer.alloc(dimensions * 4) }] }] },
    });
  index.add("lib-1", "docs", "none", 8);
  await unary(jobs, jobs.submitJob, importOf(8), CALL);
  index.add("lib-1", "docs", "none", 3);
  await unary(jobs, jobs.submitJob, importOf(3), CALL);
  assert.equal(scheduler.submissions.length, 2);
  const asked = index.asked;
  const { results } = await unary(
    jobs,
    jobs.submitJobs,
    { requests: Array.from({ length: 50 }, () => importOf(8)) },
    CALL,
  );
  assert.ok(results.every(({ outcome }) => outcome?.$case === "error"));
  assert.ok(index.asked - asked <= 2, `${index.asked - asked} questions for 50 wrong requests`);

  await assert.rejects(
    unary(jobs, jobs.submitJob, submitOf({ $case: "regenerateEmbeddings", value: {} }), CALL),
    {
      code: "INVALID_ARGUMENT",
      message: /spec.regenerate_embeddings.embedding: needed/,
    },
  );
  index.add("lib-1", "docs", "hashing", 3);
  await unary(jobs, jobs.submitJob, submitOf({ $case: "regenerateEmbeddings", value: {} }), CALL);
  assert.deepEqual(
    scheduler.submissions.map(({ type }) => type),
    ["batch_import", "batch_import", "regenerate_embeddings"],
  );
});

test("a wrong embedding is refused with its path", async (t) => {
  const { jobs, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "hashing", 3);
  const embedding = { provider: "who", dimensions: 99_999 };
  const value = { embedding, minRecall: 7 };
  await assert.rejects(
    unary(jobs, jobs.submitJob, submitOf({ $case: "regenerateEmbeddings", value }), CALL),
    {
      code: "INVALID_ARGUMENT",
      message:
        /^spec.regenerate_embeddings.min_recall: .*; spec.regenerate_embeddings.embedding.provider: one of /,
    },
  );
});

type Spec = NonNullable<SubmitJobRequest["spec"]>["spec"];

function submitOf(spec: DeepPartial<Spec>): SubmitJobRequest {
  return SubmitJobRequest.fromPartial({
    libraryId: "docs",
    spec: { spec },
  } as DeepPartial<SubmitJobRequest>);
}

test("a rollback answers with the library, and searches follow it at once", async (t) => {
  const { libraries, index } = await startTestGateway(t);
  const rollback = (libraryId: string) => unary(libraries, libraries.rollbackGeneration, { libraryId }, CALL);
  for (const unknown of ["nowhere", "not a name", ""]) {
    await assert.rejects(rollback(unknown), { code: "NOT_FOUND", reason: "LIBRARY_NOT_FOUND" });
  }
  index.add("lib-1", "docs", "hashing", 8);
  await assert.rejects(rollback("docs"), { code: "FAILED_PRECONDITION", reason: "NO_PREVIOUS_GENERATION" });
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  const fields = { libraryId: "lib-1", name: "docs", generation: 2n, previousGeneration: 1n };
  const embedding = { provider: "hashing", model: "ngram-v1", dimensions: 16 };
  index.libraries.set("lib-1", Library.fromPartial({ ...fields, embedding }));
  index.embeddingId = "embedding-2";
  const { library } = await rollback("docs");
  assert.deepEqual([library?.generation, library?.previousGeneration], [1n, 0n]);
  await unary(libraries, libraries.search, ofText("tea"), CALL);
  assert.deepEqual(
    index.searches.map(({ vector }) => vector.length),
    [32, 64],
  );
});
