import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { unavailable } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import {
  CancelJobsRequest,
  DeleteJobsRequest,
  JobStatus,
  RetryJobRequest,
  RetryJobsRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { FakeScheduler } from "../../support/fake-scheduler.ts";
import { startTestGateway } from "../../support/gateway.ts";

const CALL = { timeoutMs: 10_000 };
const { JOB_STATUS_FAILED: FAILED, JOB_STATUS_PENDING: PENDING, JOB_STATUS_RUNNING: RUNNING } = JobStatus;
const retry = (jobId: string, fields: Partial<RetryJobRequest> = {}): RetryJobRequest => ({
  ...RetryJobRequest.fromPartial({ jobId }),
  ...fields,
});

/** The next change is carried out, but the scheduler dies before it has answered; it comes back. */
function diesBeforeAnswer(scheduler: FakeScheduler): Promise<void> {
  return new Promise((resolve, reject) => {
    scheduler.afterChange = async () => {
      scheduler.afterChange = undefined;
      const back = scheduler.crash().then(() => scheduler.start());
      back.then(() => resolve(), reject);
      await sleep(50);
    };
  });
}

test("a retry whose reply was lost takes once, and is no error", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  t.after(() => scheduler.stop());
  const failed = await scheduler.move("j", { status: FAILED });
  const back = diesBeforeAnswer(scheduler);
  const { job } = await unary(jobs, jobs.retryJob, retry("j"), CALL);
  await back;
  assert.deepEqual([job?.status, job?.revision], [PENDING, failed.revision + 1n]);
  assert.equal(scheduler.jobs.get("j")?.revision, failed.revision + 1n);
});

test("a retry follows the end that the client names, else the one that the leader knows", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  const failed = await scheduler.move("j", { status: FAILED });
  scheduler.staleReads = 2;
  await unary(jobs, jobs.retryJob, retry("j"), CALL);
  assert.equal(scheduler.reads, 3);
  const again = await unary(jobs, jobs.retryJob, retry("j", { endedRevision: failed.revision }), CALL);
  assert.equal(again.job?.revision, failed.revision + 1n, "nothing was done");
  assert.equal(scheduler.reads, 3);
});

test("a job that runs, or is none, is not retried; nor are two things asked at once", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  await scheduler.move("runs", { status: RUNNING });
  const cases: [RetryJobRequest, object][] = [
    [retry("runs"), { code: "FAILED_PRECONDITION", reason: "JOB_NOT_TERMINAL" }],
    [retry("nope"), { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" }],
    [retry("a b"), { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" }],
    [retry("runs", { endedRevision: -1n }), { code: "INVALID_ARGUMENT" }],
    [retry("runs", { failedItemsOnly: true, fromCheckpoint: true }), { code: "INVALID_ARGUMENT" }],
  ];
  for (const [request, expected] of cases) {
    await assert.rejects(unary(jobs, jobs.retryJob, request, CALL), expected);
  }
});

test("a deletion whose reply was lost has succeeded; of a job that never was it is NOT_FOUND", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  t.after(() => scheduler.stop());
  await scheduler.move("j", { status: FAILED });
  const back = diesBeforeAnswer(scheduler);
  await unary(jobs, jobs.deleteJob, { jobId: "j" }, CALL);
  await back;
  // A refusal is certain: it was not carried out there.
  scheduler.failures.push(unavailable("not me", { reason: "NOT_LEADING" }));
  for (const jobId of ["j", "a b"]) {
    await assert.rejects(unary(jobs, jobs.deleteJob, { jobId }, CALL), { code: "NOT_FOUND" });
  }
  assert.equal(scheduler.failures.length, 0);
});

test("bulk changes go to the scheduler with the library's id and the default limit; its counts come back", async (t) => {
  const { jobs, scheduler, index } = await startTestGateway(t);
  index.add("lib-1", "docs", "none", 3);
  const filter = { libraryId: "docs", statuses: [FAILED] };
  const cancel = CancelJobsRequest.fromPartial({ filter, reason: "enough", all: true });
  const reply = await unary(jobs, jobs.cancelJobs, cancel, CALL);
  assert.deepEqual([reply.changedJobs, reply.skippedJobs, reply.hasMore], [3n, 2n, true]);
  const again = RetryJobsRequest.fromPartial({ filter: { types: ["echo"] }, limit: 7, fromCheckpoint: true });
  await unary(jobs, jobs.retryJobs, again, CALL);
  await unary(jobs, jobs.deleteJobs, DeleteJobsRequest.fromPartial({ all: true }), CALL);
  assert.deepEqual(
    scheduler.changes.map((each) => [each.filter?.libraryId, each.limit, each.change?.$case]),
    [
      ["lib-1", 1_000, "cancelReason"],
      ["", 7, "retry"],
      [undefined, 1_000, "delete"],
    ],
  );
  const [first, second] = scheduler.changes.map(({ change }) => change?.value);
  assert.equal(first, "enough");
  assert.deepEqual((second as { fromCheckpoint: boolean }).fromCheckpoint, true);
  await assert.rejects(
    unary(jobs, jobs.deleteJobs, DeleteJobsRequest.fromPartial({ filter: {}, limit: -1 }), CALL),
    (error: { code: string; violations: { field: string }[] }) => {
      assert.equal(error.code, "INVALID_ARGUMENT");
      assert.deepEqual(
        error.violations.map(({ field }) => field),
        ["filter", "limit"],
      );
      return true;
    },
  );
  assert.equal(scheduler.changes.length, 3);
});

test("after a lost reply bulk cancels and deletions are repeated, bulk retries are not", async (t) => {
  const { jobs, scheduler } = await startTestGateway(t);
  t.after(() => scheduler.stop());
  const { cancelJobs, retryJobs, deleteJobs } = jobs;
  const all = { filter: undefined, all: true, limit: 0 };
  let back = diesBeforeAnswer(scheduler);
  await unary(jobs, cancelJobs, { ...all, reason: "" }, CALL);
  await back;
  assert.equal(scheduler.changes.length, 2);
  back = diesBeforeAnswer(scheduler);
  await unary(jobs, deleteJobs, all, CALL);
  await back;
  assert.equal(scheduler.changes.length, 4);
  back = diesBeforeAnswer(scheduler);
  await assert.rejects(unary(jobs, retryJobs, { ...all, fromCheckpoint: false }, CALL), {
    code: "UNAVAILABLE",
    reason: "OUTCOME_UNKNOWN",
  });
  await back;
  assert.equal(scheduler.changes.length, 5);
  // One that was refused did nothing.
  scheduler.failures.push(unavailable("not me", { reason: "NOT_LEADING" }));
  await unary(jobs, retryJobs, { ...all, fromCheckpoint: false }, CALL);
  assert.equal(scheduler.changes.length, 6);
});
