import assert from "node:assert/strict";
import { test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import {
  ChangeJobsRequest as ChangeJobs,
  type ChangeJobsRequest,
  type ChangeJobsResponse,
} from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Queue } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { FailedOutcome, type Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import type { SchedulerProcess } from "../../support/scheduler-process.ts";
import { CANCELLED, COMPLETED, echo, FAILED, PENDING, SCHEDULED, setUp } from "./set-up.ts";

const TIMEOUT = { timeoutMs: 5_000 };

const failed = (): Outcome["outcome"] => {
  const error = { code: "BROKEN", message: "never", retryable: false };
  return { $case: "failed", value: FailedOutcome.fromPartial({ error }) };
};

const retry = async ({ client }: SchedulerProcess, jobId: string): Promise<Job | undefined> =>
  (
    await unary(
      client,
      client.retryJob,
      { visibleLibraries: [], jobId, fromCheckpoint: false, endedRevision: 0n, failedItemsOnly: false },
      TIMEOUT,
    )
  ).job;

const remove = ({ client }: SchedulerProcess, jobId: string) =>
  unary(client, client.deleteJob, { visibleLibraries: [], jobId }, TIMEOUT);

const changeAll = async (
  { client }: SchedulerProcess,
  change: ChangeJobsRequest["change"],
  limit = 1_000,
  filter: object = {},
): Promise<Omit<ChangeJobsResponse, "_unknownFields">> => {
  const request = ChangeJobs.fromPartial({ filter, limit, change } as never);
  const { changedJobs, skippedJobs, hasMore } = await unary(client, client.changeJobs, request, TIMEOUT);
  return { changedJobs, skippedJobs, hasMore };
};

const setQueue = async (
  { client }: SchedulerProcess,
  type: string,
  set: { paused?: boolean; maxRunning?: number },
): Promise<Partial<Queue>> => {
  const request = { type, paused: set.paused, maxRunning: set.maxRunning };
  const { queue } = await unary(client, client.changeQueue, request, TIMEOUT);
  return { type: queue?.type ?? "?", paused: queue?.paused ?? false, maxRunning: queue?.maxRunning ?? -1 };
};

test("a job that failed runs again, over a restart, too, and ends once more", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  let answer = failed;
  const worker = await startWorker({ answer: () => answer() });
  const job = await scheduler.submit(echo({ requestId: "r" }));
  const first = await scheduler.reaches(job.jobId, FAILED);
  await assert.rejects(retry(scheduler, "no such job"), { code: "NOT_FOUND" });
  // Ended jobs have left the memory by then.
  await scheduler.restart();
  answer = completed;
  const again = await retry(scheduler, job.jobId);
  assert.ok((again?.revision ?? 0n) > first.revision);
  const second = await scheduler.reaches(job.jobId, COMPLETED);
  assert.deepEqual(
    second.attempts.map(({ attempt, outcome }) => [attempt, outcome]),
    [
      [1, "failed"],
      [2, "completed"],
    ],
  );
  assert.equal((await scheduler.submit(echo({ requestId: "r" }))).jobId, job.jobId);
  worker.slots = 0;
  await eventually(async () => (await scheduler.stats()).slots === 0);
  await retry(scheduler, job.jobId);
  await assert.rejects(retry(scheduler, job.jobId), {
    code: "FAILED_PRECONDITION",
    reason: "JOB_NOT_TERMINAL",
  });
  await assert.rejects(remove(scheduler, job.jobId), { code: "FAILED_PRECONDITION" });
  const stats = await scheduler.stats();
  assert.deepEqual([stats.pendingJobs, stats.completedJobs, stats.totalJobs], [1n, 0n, 1n]);
});

test("a deleted job is gone with its request_id, over a restart, too", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  await startWorker({ answer: completed });
  const job = await scheduler.submit(echo({ requestId: "r" }));
  await scheduler.reaches(job.jobId, COMPLETED);
  await remove(scheduler, job.jobId);
  await assert.rejects(scheduler.get(job.jobId), { code: "NOT_FOUND" });
  await assert.rejects(remove(scheduler, job.jobId), { code: "NOT_FOUND" });
  await scheduler.restart();
  await assert.rejects(scheduler.get(job.jobId), { code: "NOT_FOUND" });
  assert.notEqual((await scheduler.submit(echo({ requestId: "r" }))).jobId, job.jobId);
});

test("all that a filter matches: cancelled, retried, deleted, within the limit, with counts", async (test) => {
  const { scheduler } = await setUp(test);
  const labels = { team: "search" };
  const ours = [];
  for (let n = 0; n < 30; n++) ours.push(await scheduler.submit(echo({ labels })));
  const other = await scheduler.submit(echo());
  const cancel = { $case: "cancelReason" as const, value: "bulk" };
  const part = await changeAll(scheduler, cancel, 10, { labels });
  assert.deepEqual(part, { changedJobs: 10n, skippedJobs: 0n, hasMore: true });
  const rest = await changeAll(scheduler, cancel, 1_000, { labels });
  assert.deepEqual(rest, { changedJobs: 20n, skippedJobs: 0n, hasMore: false });
  assert.deepEqual(await changeAll(scheduler, cancel, 1_000, { labels }), {
    changedJobs: 0n,
    skippedJobs: 0n,
    hasMore: false,
  });
  assert.equal((await scheduler.get(other.jobId)).status, PENDING);
  const again = { $case: "retry" as const, value: { fromCheckpoint: false } };
  assert.equal((await changeAll(scheduler, again, 1_000, { labels })).changedJobs, 30n);
  assert.equal((await scheduler.get(ours[0]?.jobId ?? "")).status, PENDING);
  const deletion = { $case: "delete" as const, value: {} };
  assert.equal((await changeAll(scheduler, deletion, 1_000)).changedJobs, 0n, "none has ended");
  await changeAll(scheduler, cancel, 1_000, { labels });
  const asked = { labels, statuses: [CANCELLED, PENDING] };
  assert.equal((await changeAll(scheduler, deletion, 1_000, asked)).changedJobs, 30n);
  assert.equal((await scheduler.stats()).totalJobs, 1n);
});

test("a paused queue starts nothing, running jobs go on, and a restart keeps the pause", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 10 });
  const running = await scheduler.submit(echo());
  await eventually(() => worker.grants.length === 1);
  assert.deepEqual(await setQueue(scheduler, "echo", { paused: true }), {
    type: "echo",
    paused: true,
    maxRunning: 0,
  });
  const waiting = await scheduler.submit(echo());
  await worker.report(worker.grants[0]?.lease ?? 0n, completed());
  await scheduler.reaches(running.jobId, COMPLETED);
  assert.equal((await scheduler.get(waiting.jobId)).waitingFor, "the queue echo is paused");
  assert.equal((await scheduler.list()).jobs[0]?.waitingFor, "the queue echo is paused");
  await scheduler.restart();
  await setQueue(scheduler, "", { paused: true });
  await setQueue(scheduler, "echo", { paused: false });
  assert.equal((await scheduler.get(waiting.jobId)).waitingFor, "all queues are paused");
  assert.equal((await scheduler.stats()).running, false);
  assert.equal(worker.grants.length, 1);
  await setQueue(scheduler, "", { paused: false });
  await eventually(() => worker.grants.length === 2);
});

test("no more jobs of a type run than its limit, and of a key than its own, over several workers", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  await setQueue(scheduler, "echo", { maxRunning: 3 });
  const workers = [await startWorker({ slots: 2 }), await startWorker({ slots: 2 })];
  const leases = () => workers.flatMap(({ grants }) => grants);
  for (let n = 0; n < 5; n++) await scheduler.submit(echo());
  await eventually(() => leases().length === 3);
  const stats = await scheduler.stats();
  assert.deepEqual([stats.runningJobs, stats.pendingJobs, stats.byType[0]?.maxRunning], [3n, 2n, 3]);
  // Spread, not one worker after the other.
  assert.ok(workers.every(({ grants }) => grants.length > 0));
  await scheduler.restart();
  assert.equal((await scheduler.stats()).runningJobs, 3n);
  const [first] = workers[0]?.grants ?? [];
  await workers[0]?.report(first?.lease ?? 0n, completed());
  await eventually(() => leases().length === 4);
  await setQueue(scheduler, "echo", { maxRunning: 0 });
  await eventually(() => leases().length === 5);
});

test("jobs behind a key wait without a slot, say what for, and start in order", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 10 });
  const jobs: Job[] = [];
  for (let n = 0; n < 5; n++) {
    jobs.push(await scheduler.submit(echo({ concurrencyKey: "k", concurrencyLimit: 2 })));
  }
  const free = await scheduler.submit(echo());
  await eventually(() => worker.grants.length === 3);
  assert.ok(worker.grants.some(({ jobId }) => jobId === free.jobId));
  const third = await scheduler.get(jobs[2]?.jobId ?? "");
  assert.equal(third.waitingFor, 'jobs with concurrency_key "k": 2 of 2 running or about to');
  // One in the line leaves, one that runs is cancelled: the next is the fourth.
  await scheduler.cancel(third.jobId);
  await worker.report(worker.grants[0]?.lease ?? 0n, completed());
  await eventually(() => worker.grants.length === 4);
  assert.equal(worker.grants[3]?.jobId, jobs[3]?.jobId);
  assert.equal((await scheduler.get(jobs[4]?.jobId ?? "")).status, PENDING);
});

test("a drained worker gets no more jobs, and goes on with those it has", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 2 });
  await scheduler.submit(echo());
  await eventually(() => worker.grants.length === 1);
  const { client } = scheduler;
  const { workers } = await unary(client, client.listWorkers, {}, TIMEOUT);
  const [shown] = workers;
  assert.deepEqual([workers.length, shown?.workerId, shown?.slots], [1, worker.workerId, 2]);
  assert.deepEqual([shown?.types, shown?.draining], [["echo"], false]);
  const [grant] = worker.grants;
  assert.deepEqual([shown?.leases[0]?.lease, shown?.leases[0]?.jobId], [grant?.lease, grant?.jobId]);
  assert.ok(Date.now() - (shown?.heardAt?.getTime() ?? 0) < 2_000);
  await assert.rejects(unary(client, client.drainWorker, { workerId: "nobody" }, TIMEOUT), {
    code: "NOT_FOUND",
    reason: "WORKER_NOT_FOUND",
  });
  const drained = unary(client, client.drainWorker, { workerId: worker.workerId }, TIMEOUT);
  await eventually(() => worker.replies.some(({ drain }) => drain));
  worker.draining = true;
  assert.equal((await drained).worker?.draining, true);
  const waiting = await scheduler.submit(echo());
  assert.equal((await scheduler.get(waiting.jobId)).waitingFor, "a free slot");
  const other = await startWorker();
  await eventually(() => other.grants.length === 1);
});

test("a total timeout ends a job that waits, also over a restart", async (test) => {
  const { scheduler } = await setUp(test);
  const totalTimeout = { seconds: 1n, nanos: 500_000_000 };
  const waiting = await scheduler.submit(echo({ totalTimeout }));
  const later = new Date(Date.now() + 60_000);
  const scheduled = await scheduler.submit(echo({ totalTimeout, runAt: later }));
  await scheduler.restart();
  const ended = await scheduler.reaches(waiting.jobId, FAILED);
  assert.equal(ended.error?.code, "DEADLINE_EXCEEDED");
  const waitedMs = (ended.completedAt?.getTime() ?? 0) - (ended.createdAt?.getTime() ?? 0);
  assert.ok(waitedMs >= 1_500, `ended after ${waitedMs} ms`);
  assert.equal((await scheduler.get(scheduled.jobId)).status, SCHEDULED, "counts from run_at");
});

test("a retry waits as its policy says", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const error = { code: "BUSY", message: "again", retryable: true };
  const answer = (): Outcome["outcome"] => ({ $case: "failed", value: FailedOutcome.fromPartial({ error }) });
  const worker = await startWorker({ answer });
  const backoffInitial = { seconds: 0n, nanos: 200_000_000 };
  const retryPolicy = { backoffInitial, backoffMax: undefined, backoffMultiplier: 3, jitter: 0 };
  const job = await scheduler.submit(echo({ retryPolicy, maxRetries: 2 }));
  const ended = await scheduler.reaches(job.jobId, FAILED);
  const starts = ended.attempts.map(({ startedAt }) => startedAt?.getTime() ?? 0);
  const ends = ended.attempts.map(({ endedAt }) => endedAt?.getTime() ?? 0);
  const waits = [1, 2].map((n) => (starts[n] ?? 0) - (ends[n - 1] ?? 0));
  assert.ok((waits[0] ?? 0) >= 200 && (waits[0] ?? 0) < 600, `waited ${waits}`);
  assert.ok((waits[1] ?? 0) >= 600, `waited ${waits}`);
  assert.equal(worker.grants.length, 3);
});
