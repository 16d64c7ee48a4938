import assert from "node:assert/strict";
import { test } from "node:test";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { decide } from "../../../services/scheduler/domain/decide.ts";
import { exportIsOver } from "../../../services/scheduler/domain/exports.ts";
import type { JobState } from "../../../services/scheduler/domain/state.ts";
import { accepted, commands, NOW, running } from "./states.ts";

const EXPORT = { type: "batch_export" };

function removes(state: JobState, command: (typeof commands)[keyof typeof commands]): boolean {
  const decision = decide(state, command, NOW);
  assert.ok(decision.accepted);
  return decision.effects.some(({ kind }) => kind === "removeExport");
}

test("the file of an export goes with a job that failed, was cancelled or is deleted, and with no other", () => {
  const exporting = running(EXPORT);
  assert.equal(removes(exporting, commands.complete), false);
  assert.equal(removes(exporting, commands["fail, final"]), true);
  assert.equal(removes(exporting, commands["fail, may be retried"]), false);
  assert.equal(removes(exporting, commands.checkpoint), false);
  const cancelling = accepted(exporting, commands.requestCancel).state;
  assert.equal(removes(cancelling, commands.stopped), true);
  const completed = accepted(exporting, commands.complete).state;
  assert.equal(removes(completed, commands.retry), false);
  assert.equal(removes(completed, commands.delete), true);
  assert.equal(removes(running({ type: "echo" }), commands["fail, final"]), false);
});

test("an export is over when its time is up, or its job ended without one", () => {
  const { JOB_STATUS_RUNNING, JOB_STATUS_COMPLETED, JOB_STATUS_FAILED } = JobStatus;
  const result = (expiresAtMs: number | undefined) => ({
    result: {
      $case: "batchExport" as const,
      value: {
        documentsExported: 1n,
        format: "json",
        fileSizeBytes: 3n,
        sha256: "",
        chunksExported: 1n,
        expiresAt: expiresAtMs === undefined ? undefined : new Date(expiresAtMs),
      },
    },
  });
  assert.equal(exportIsOver({ status: JOB_STATUS_COMPLETED, result: result(1_000) }, 999), false);
  assert.equal(exportIsOver({ status: JOB_STATUS_COMPLETED, result: result(1_000) }, 1_000), true);
  assert.equal(exportIsOver({ status: JOB_STATUS_COMPLETED, result: result(undefined) }, 0), true);
  assert.equal(exportIsOver({ status: JOB_STATUS_FAILED, result: undefined }, 0), true);
  assert.equal(exportIsOver({ status: JOB_STATUS_RUNNING, result: undefined }, 0), false);
});
