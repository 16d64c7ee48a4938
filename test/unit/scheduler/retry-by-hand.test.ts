import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { decide } from "../../../services/scheduler/domain/decide.ts";
import { isTerminal } from "../../../services/scheduler/domain/state.ts";
import {
  accepted,
  cancelling,
  commands,
  LEASE,
  NOW,
  rejection,
  running,
  type StateName,
  states,
} from "./states.ts";

test("a retry that names an end takes at that end, once, and nowhere later", () => {
  for (const name of Object.keys(states) as StateName[]) {
    const state = states[name];
    if (!state || !isTerminal(state.job.status)) continue;
    const { revision } = state.job;
    const retry = { kind: "retry", fromCheckpoint: false, endedRevision: revision } as const;
    const again = accepted(state, retry).state;
    assert.equal(again.job.revision, revision + 1n);
    assert.equal(rejection(again, retry), "ALREADY");
    // It may have ended again by the time of a repeat.
    const ended = { ...state, job: { ...state.job, revision: revision + 2n } };
    assert.equal(rejection(ended, retry), "ALREADY");
    assert.equal(accepted(ended, { ...retry, endedRevision: 0n }).state.job.revision, revision + 3n);
  }
});

const FAILED_ITEMS = commands["retry, failed items"];
const importResult = (failed: bigint): JobResult => ({
  result: { $case: "batchImport", value: { imported: 5n, failed, totalChunks: 5n } },
});

test("failed items run again where some failed, or may have", () => {
  const importing = running({ type: "batch_import" });
  const completed = (failed: bigint) =>
    accepted(importing, { ...commands.complete, result: importResult(failed) }).state;
  assert.equal(rejection(completed(0n), FAILED_ITEMS), "NO_FAILED_ITEMS");
  const again = accepted(completed(2n), FAILED_ITEMS).state;
  assert.deepEqual([again.failedItemsOnly, again.retried, again.checkpoint.length], [true, 1, 0]);
  assert.equal(again.job.result, undefined);

  const stopped = { ...commands.stopped, partialResult: importResult(1n) };
  const cancelled = accepted(cancelling({ type: "batch_import" }), stopped).state;
  assert.equal(accepted(cancelled, FAILED_ITEMS).state.failedItemsOnly, true);

  // Without a result nothing is known; without a checkpoint there was nothing that could fail.
  assert.equal(
    rejection(accepted(importing, commands["fail, final"]).state, FAILED_ITEMS),
    "NO_FAILED_ITEMS",
  );
  const begun = accepted(importing, commands.checkpoint).state;
  const failed = accepted(begun, commands["fail, final"]).state;
  assert.equal(accepted(failed, FAILED_ITEMS).state.failedItemsOnly, true);
});

test("from its checkpoint a run of failed items goes on with those; anew it takes all", () => {
  const begun = accepted(running({ type: "batch_delete" }), commands.checkpoint).state;
  const retried = accepted(accepted(begun, commands["fail, final"]).state, FAILED_ITEMS).state;
  const granted = accepted(retried, { ...commands.grant, lease: LEASE }).state;
  const failed = accepted(accepted(granted, commands.checkpoint).state, commands["fail, final"]).state;
  const goesOn = accepted(failed, { ...commands.retry, fromCheckpoint: true }).state;
  assert.deepEqual([goesOn.failedItemsOnly, goesOn.checkpoint.length > 0], [true, true]);
  assert.equal(accepted(failed, commands.retry).state.failedItemsOnly, false);
  // A completed job has no checkpoint to go on from: it begins anew.
  const completed = accepted(granted, commands.complete).state;
  assert.equal(accepted(completed, { ...commands.retry, fromCheckpoint: true }).state.failedItemsOnly, false);
});

test("a job with items takes what became of them along when it is deleted", () => {
  const done = accepted(running({ type: "batch_import", payloadObject: "p" }), commands.complete).state;
  const deleted = decide(done, commands.delete, NOW);
  assert.ok(deleted.accepted);
  assert.deepEqual(
    deleted.effects.map(({ kind }) => kind),
    ["removePayload", "removeItems"],
  );
});
