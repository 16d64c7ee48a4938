import assert from "node:assert/strict";
import { test } from "node:test";
import { Build, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import {
  countsAsOf,
  decodeCounts,
  encodeCounts,
  NO_COUNTS,
  optimizeResult,
} from "../../../services/worker/domain/build-results.ts";
import { buildProgress, recallText } from "../../../services/worker/domain/build-text.ts";

const { BUILD_PHASE_EMBEDDING, BUILD_PHASE_BUILDING, BUILD_PHASE_VERIFYING, BUILD_PHASE_NOT_NEEDED } =
  BuildPhase;

test("progress counts the vectors of the new index and says what it waits for", () => {
  const build = { vectorsDone: 1_200n, vectorsTotal: 200_000n };
  const of = (fields: Partial<Build>) => buildProgress({ ...Build.fromPartial(build), ...fields });
  assert.deepEqual(of({ phase: BUILD_PHASE_BUILDING }), {
    current: 1_200,
    total: 200_000,
    message: "building 1,200 of 200,000 vectors",
  });
  const embedding = of({ phase: BUILD_PHASE_EMBEDDING, chunksEmbedded: 5_000n, chunksTotal: 200_000n });
  assert.deepEqual([embedding.current, embedding.message], [1_200, "embedding 5,000 of 200,000 chunks"]);
  assert.equal(of({ phase: BUILD_PHASE_VERIFYING }).message, "measuring recall and latency");
  // Chunks may have been removed since they were counted.
  assert.equal(of({ phase: BUILD_PHASE_BUILDING, vectorsDone: 300_000n }).current, 200_000);
});

test("recall stands beside the old one where that says something", () => {
  const of = (recallAt10: number, oldRecallAt10: number, sampleQueries = 200) =>
    recallText(Build.fromPartial({ figures: { recallAt10, oldRecallAt10, sampleQueries } }));
  assert.equal(of(0.987, 0.979), "0.987 (0.979 before) on 200 queries");
  assert.equal(of(0.987, 0), "0.987 on 200 queries");
  assert.equal(of(0, 0, 0), "not measured, there are no vectors");
  assert.equal(recallText(Build.fromPartial({})), "not measured, there are no vectors");
});

test("counts survive a checkpoint, and what is none counts as none", () => {
  const counts = { reembedded: 7, reused: 3 };
  assert.deepEqual(decodeCounts(encodeCounts(counts)), counts);
  for (const bad of ["", "{", "null", "[]", '{"reembedded": -1, "reused": 1.5}', '{"reused": "3"}']) {
    assert.deepEqual(decodeCounts(Buffer.from(bad)), NO_COUNTS, bad);
  }
});

test("what was embedded after the last checkpoint is counted; a build begun anew counts anew", () => {
  const counts = { reembedded: 7, reused: 3 };
  const as = (chunksEmbedded: bigint) => countsAsOf(counts, Build.fromPartial({ chunksEmbedded }));
  assert.deepEqual(as(15n), { reembedded: 12, reused: 3 });
  assert.deepEqual(as(10n), counts);
  assert.deepEqual(as(4n), counts);
  assert.deepEqual(as(0n), NO_COUNTS);
});

test("an optimize that was not needed names the live generation", () => {
  const build = Build.fromPartial({ phase: BUILD_PHASE_NOT_NEEDED, generation: 0n });
  const { generation, tombstonesDropped, buildSeconds } = optimizeResult(build, 5n);
  assert.deepEqual([generation, tombstonesDropped, buildSeconds], [5n, 0n, 0]);
  assert.equal(optimizeResult({ ...build, generation: 6n }, 5n).generation, 6n);
});
