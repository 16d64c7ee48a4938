import assert from "node:assert/strict";
import { test } from "node:test";
import { Job, type JobProgress, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { isNewerProgress, withKnownProgress } from "../../../services/gateway/domain/progress.ts";

function progress(current: number, total = 10, message = ""): JobProgress {
  return { current: BigInt(current), total: BigInt(total), message, percentage: 0 };
}

test("what is newer", () => {
  assert.ok(isNewerProgress(progress(1), undefined));
  assert.ok(isNewerProgress(progress(2), progress(1)));
  assert.ok(!isNewerProgress(progress(1), progress(2)));
  assert.ok(!isNewerProgress(progress(1), progress(1)));
  assert.ok(isNewerProgress(progress(1, 10, "next"), progress(1)));
  assert.ok(isNewerProgress(progress(0, 20), progress(9)));
});

test("progress stays while the attempt goes on, and is the record's own after it", () => {
  const running = { jobId: "j", status: JobStatus.JOB_STATUS_RUNNING, attempt: 1 };
  const before = Job.fromPartial({ ...running, progress: progress(7) });
  const kept = withKnownProgress(Job.fromPartial({ ...running, progress: progress(5) }), before);
  assert.equal(kept.progress?.current, 7n);
  const ahead = withKnownProgress(Job.fromPartial({ ...running, progress: progress(9) }), before);
  assert.equal(ahead.progress?.current, 9n);
  const retried = withKnownProgress(
    Job.fromPartial({ ...running, attempt: 2, progress: progress(5) }),
    before,
  );
  assert.equal(retried.progress?.current, 5n);
  const ended = { ...running, status: JobStatus.JOB_STATUS_CANCELLED, progress: progress(6) };
  assert.equal(withKnownProgress(Job.fromPartial(ended), before).progress?.current, 6n);
});
