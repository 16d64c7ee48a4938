import assert from "node:assert/strict";
import { test } from "node:test";
import { localTime } from "../../../cli/format.ts";
import { eventLine } from "../../../cli/watch-jobs.ts";
import { Job, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";

const at = new Date(1_700_000_000_000);

function line(event: string, job: Partial<Job>): string {
  const whole = { ...Job.fromPartial({ jobId: "job-1", type: "echo" }), ...job };
  return eventLine({ cursor: "c", event, at, job: whole }).replace(localTime(at), "TIME");
}

test("an event in one line: when, what, which job, and how it ended or how far it is", () => {
  assert.equal(
    line("job.submitted", { status: JobStatus.JOB_STATUS_PENDING }),
    "TIME  submitted         job-1  echo",
  );
  assert.equal(
    line("job.completed", {
      status: JobStatus.JOB_STATUS_COMPLETED,
      result: { result: { $case: "echo", value: { message: "hello" } } },
    }),
    'TIME  completed         job-1  echo  "hello"',
  );
  assert.equal(
    line("job.failed", {
      status: JobStatus.JOB_STATUS_FAILED,
      error: { code: "ECHO_FAILED", message: "as\u001b[2J asked", retryable: false },
    }),
    "TIME  failed            job-1  echo  ECHO_FAILED: as [2J asked",
  );
  assert.equal(
    line("job.checkpointed", {
      status: JobStatus.JOB_STATUS_RUNNING,
      progress: { current: 5n, total: 10n, message: "", percentage: 50 },
    }),
    "TIME  checkpointed      job-1  echo  5 of 10, 50 %",
  );
});
