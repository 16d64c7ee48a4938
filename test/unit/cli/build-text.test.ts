import assert from "node:assert/strict";
import { test } from "node:test";
import { buildFigureLines, buildResultText } from "../../../cli/build-text.ts";
import {
  IndexOptimizeResult,
  IndexRebuildResult,
  Job,
  type JobResult,
  RegenerateEmbeddingsResult,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";

type Result = NonNullable<JobResult["result"]>;

const rebuilt = (fields: Partial<IndexRebuildResult>): Result => ({
  $case: "indexRebuild",
  value: { ...IndexRebuildResult.fromPartial({}), ...fields },
});

test("results of builds in one line", () => {
  const figures = { vectorsReindexed: 200_000n, recallAt10: 0.9871, sampleQueries: 200, generation: 3n };
  assert.equal(buildResultText(rebuilt(figures)), "200,000 vectors, recall@10 0.987, generation 3");
  assert.equal(buildResultText(rebuilt({ generation: 2n })), "0 vectors, recall not measured, generation 2");
  const optimized = (fields: Partial<IndexOptimizeResult>) =>
    buildResultText({
      $case: "indexOptimize",
      value: { ...IndexOptimizeResult.fromPartial({ generation: 4n }), ...fields },
    });
  assert.equal(optimized({}), "nothing to optimize: no removed vectors");
  assert.equal(
    optimized({
      tombstonesDropped: 1n,
      memoryFreedBytes: 2_500_000n,
      diskFreedBytes: -1_000n,
      buildSeconds: 1,
    }),
    "1 removed vector dropped, 2.5 MB less in memory, 1.0 kB more on disk, generation 4",
  );
  const value = RegenerateEmbeddingsResult.fromPartial({
    chunksReembedded: 1_200n,
    embeddingsReused: 34n,
    embedding: { provider: "hashing", model: "ngram-v1", dimensions: 384 },
    generation: 2n,
  });
  assert.equal(
    buildResultText({ $case: "regenerateEmbeddings", value }),
    "1,200 chunks embedded by hashing ngram-v1, 384 dimensions, 34 reused, generation 2",
  );
  assert.equal(buildResultText({ $case: "echo", value: { message: "hi" } }), undefined);
});

test("a rebuild's figures stand side by side", () => {
  const result = rebuilt({
    oldIndexType: "hnsw",
    newIndexType: "flat",
    oldRecallAt10: 0.98,
    recallAt10: 1,
    sampleQueries: 200,
    oldSearchP50Ms: 0.3,
    oldSearchP99Ms: 1,
    newSearchP50Ms: 12.345,
    newSearchP99Ms: 20,
    oldMemoryBytes: 2_000_000n,
    newMemoryBytes: 1_000_000n,
    buildSeconds: 2.25,
  });
  const lines = buildFigureLines(
    Job.fromPartial({ result: { result } } as Parameters<typeof Job.fromPartial>[0]),
  );
  const text = lines.map((line) => line.trim().replace(/ {2,}/g, "|"));
  assert.deepEqual(text.slice(0, 5), [
    "BEFORE|NOW",
    "index|hnsw|flat",
    "recall@10|0.980|1.000",
    "search p50|0.30 ms|12.35 ms",
    "search p99|1.00 ms|20.00 ms",
  ]);
  assert.equal(text.at(-1), "measured on 200 searches, built in 2.3 s");
  assert.deepEqual(buildFigureLines(Job.fromPartial({})), []);
});
