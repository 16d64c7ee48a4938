import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import type { Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import {
  CANCELLED,
  COMPLETED,
  echo,
  FAILED,
  journalOf,
  PENDING,
  RUNNING,
  SCHEDULED,
  setUp,
} from "./set-up.ts";

const duration = (ms: number) => ({ seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 });
const failed = (retryable: boolean, retryAfterMs?: number): Outcome["outcome"] => ({
  $case: "failed",
  value: {
    error: { code: "BROKEN", message: "it broke", retryable },
    retryAfter: retryAfterMs === undefined ? undefined : duration(retryAfterMs),
    timedOut: false,
  },
});
const checkpoint = (number: number, data: string): Outcome["outcome"] => ({
  $case: "checkpoint",
  value: { number, data: Buffer.from(data), progress: undefined },
});
const released = (delayMs?: number): Outcome["outcome"] => ({
  $case: "released",
  value: { delay: delayMs === undefined ? undefined : duration(delayMs) },
});

test("jobs are submitted, run, fail, are retried, released and snoozed", async (test) => {
  const { scheduler, nats, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 1 });
  const nextGrant = async (count: number) => {
    await eventually(() => worker.grants.length >= count, { what: `grant ${count}` });
    const grant = worker.grants[count - 1];
    assert.ok(grant);
    return grant;
  };

  // Done.
  const submitted = await scheduler.submit(echo({ labels: { team: "a" } }));
  assert.deepEqual([submitted.labels, submitted.maxRetries], [{ team: "a" }, 3]);
  const first = await nextGrant(1);
  assert.deepEqual([first.jobId, first.attempt, first.type], [submitted.jobId, 1, "echo"]);
  await worker.report(first.lease, completed());
  const done = await scheduler.reaches(submitted.jobId, COMPLETED);
  assert.deepEqual([done.attempt, done.retries, done.workerId], [1, 0, worker.workerId]);

  // Failed retryably with its own delay, then for good.
  const failing = await scheduler.submit(echo({ maxRetries: 1 }));
  const attempt1 = await nextGrant(2);
  await worker.report(attempt1.lease, failed(true, 300));
  const waiting = await scheduler.reaches(failing.jobId, SCHEDULED);
  assert.equal(waiting.error?.code, "BROKEN");
  const attempt2 = await nextGrant(3);
  assert.deepEqual([attempt2.jobId, attempt2.attempt], [failing.jobId, 2]);
  assert.ok(attempt2.lease > attempt1.lease);
  assert.ok(attempt2.grantedAt && waiting.runAt && attempt2.grantedAt >= waiting.runAt);
  await worker.report(attempt2.lease, failed(true));
  const over = await scheduler.reaches(failing.jobId, FAILED);
  assert.deepEqual([over.retries, over.attempt, over.error?.message], [1, 2, "it broke"]);

  // Checkpoints apply upwards only; released and snoozed jobs go on from the last one.
  const resumed = await scheduler.submit(echo());
  const lease1 = await nextGrant(4);
  await worker.report(lease1.lease, checkpoint(2, "two"));
  await worker.report(lease1.lease, checkpoint(1, "one"));
  await worker.report(lease1.lease, released());
  const lease2 = await nextGrant(5);
  assert.deepEqual([lease2.attempt, lease2.checkpoint.toString()], [1, "two"]);
  // Outcomes of the lease before count no more.
  await worker.report(lease1.lease, failed(false), resumed.jobId);
  await worker.report(lease1.lease, checkpoint(9, "nine"), resumed.jobId);
  await worker.report(lease2.lease, checkpoint(1, "three"));
  await worker.report(lease2.lease, released(200));
  await scheduler.reaches(resumed.jobId, SCHEDULED);
  const lease3 = await nextGrant(6);
  assert.deepEqual([lease3.attempt, lease3.checkpoint.toString()], [1, "three"]);
  await worker.report(lease3.lease, completed());
  const end = await scheduler.reaches(resumed.jobId, COMPLETED);
  assert.deepEqual([end.retries, end.losses, end.attempt], [0, 0, 1]);

  // Every reply that was given is in the journal, with revisions without a gap.
  const { records } = await journalOf(nats);
  for (const { jobId } of [submitted, failing, resumed]) {
    const revisions = records.filter((each) => each.jobId === jobId).map(({ revision }) => Number(revision));
    assert.deepEqual(
      revisions,
      Array.from({ length: revisions.length }, (_, n) => n + 1),
    );
  }
  await eventually(() => worker.held.size === 0, { what: "finished leases are confirmed" });
});

test("a retry keeps its time over a restart, and a scheduled job fires on time", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ answer: () => failed(true, 3_000) });
  const retried = await scheduler.submit(echo());
  const { runAt } = await scheduler.reaches(retried.jobId, SCHEDULED);
  assert.ok(runAt);
  const soon = new Date(Date.now() + 400);
  const scheduled = await scheduler.submit(echo({ runAt: soon }));
  assert.equal(scheduled.status, SCHEDULED);
  const started = await eventually(() => worker.grants.find(({ jobId }) => jobId === scheduled.jobId));
  const lateMs = (started.grantedAt?.getTime() ?? 0) - soon.getTime();
  assert.ok(lateMs >= 0 && lateMs < 300, `started ${lateMs} ms late`);
  const later = new Date(Date.now() + 2_500);
  const afterRestart = await scheduler.submit(echo({ runAt: later }));
  await scheduler.restart();
  assert.deepEqual((await scheduler.get(retried.jobId)).runAt, runAt);
  for (const [jobId, at] of [
    [retried.jobId, runAt],
    [afterRestart.jobId, later],
  ] as const) {
    const grant = await eventually(() =>
      worker.grants.filter((each) => each.jobId === jobId).at(jobId === retried.jobId ? 1 : 0),
    );
    const late = (grant.grantedAt?.getTime() ?? 0) - at.getTime();
    assert.ok(late >= 0 && late < 1_000, `started ${late} ms late after the restart`);
  }
});

test("a cancel wins in every state but after the end", async (test) => {
  const { scheduler, worker: startWorker } = await setUp(test);
  const notFound = { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" };
  await assert.rejects(scheduler.cancel(uuidv7()), notFound);
  const pending = await scheduler.submit(echo());
  assert.equal((await scheduler.cancel(pending.jobId))?.status, CANCELLED);
  assert.equal((await scheduler.cancel(pending.jobId))?.status, CANCELLED, "again is fine");
  const scheduled = await scheduler.submit(echo({ runAt: new Date(Date.now() + 60_000) }));
  assert.equal((await scheduler.cancel(scheduled.jobId))?.status, CANCELLED);

  const worker = await startWorker({ slots: 3 });
  const jobs = [];
  for (let n = 0; n < 3; n++) jobs.push(await scheduler.submit(echo()));
  await eventually(() => worker.grants.length === 3);
  const [stops, completes, fails] = worker.grants;
  assert.ok(stops && completes && fails);
  for (const { jobId } of worker.grants) {
    const job = await scheduler.cancel(jobId);
    assert.deepEqual([job?.status, job?.cancelRequested], [RUNNING, true]);
  }
  await eventually(() => worker.cancelled.length === 3, { what: "cancels are pushed" });
  await eventually(() => worker.replies.some(({ cancel }) => cancel.length === 3), { what: "and repeated" });
  await worker.report(stops.lease, {
    $case: "cancelled",
    value: { partialResult: undefined, progress: undefined },
  });
  await worker.report(completes.lease, completed());
  await worker.report(fails.lease, failed(true));
  await scheduler.reaches(stops.jobId, CANCELLED);
  await scheduler.reaches(completes.jobId, COMPLETED);
  assert.equal((await scheduler.reaches(fails.jobId, CANCELLED)).retries, 0);
  const ended = { code: "FAILED_PRECONDITION", reason: "JOB_TERMINAL" };
  await assert.rejects(scheduler.cancel(completes.jobId), ended);
  await eventually(() => worker.held.size === 0, { what: "ended leases are named in replies" });
});

test("what workers can't say sensibly hurts only their own job", async (test) => {
  const { scheduler, worker: startWorker, nats } = await setUp(test);
  const worker = await startWorker();
  const jobs = [];
  for (let n = 0; n < 3; n++) jobs.push(await scheduler.submit(echo()));
  await eventually(() => worker.grants.length === 3);
  const [large, wordy, good] = worker.grants;
  assert.ok(large && wordy && good);
  await nats.append("arrw.outcomes", Buffer.from([0xff, 0xff, 0xff]), { timeoutMs: 2_000 });
  await worker.report(large.lease, checkpoint(1, "x".repeat(700_000)));
  const message = "y".repeat(700_000);
  const error = { code: "BROKEN", message, retryable: false };
  await worker.report(wordy.lease, {
    $case: "failed",
    value: { error, retryAfter: undefined, timedOut: false },
  });
  await worker.report(good.lease, completed());
  await scheduler.reaches(good.jobId, COMPLETED);
  const failedJob = await scheduler.reaches(wordy.jobId, FAILED);
  assert.ok((failedJob.error?.message.length ?? 0) <= 10_000);
  assert.equal((await scheduler.get(large.jobId)).status, RUNNING);
  const result = { result: { $case: "echo" as const, value: { message } } } as never;
  await worker.report(large.lease, { $case: "completed", value: { result, progress: undefined } });
  assert.equal((await scheduler.reaches(large.jobId, FAILED)).error?.code, "RESULT_TOO_LARGE");
  assert.equal(scheduler.logged("stopped leading").length, 0);
});

test("a repeated request_id is the same job, another body is refused, and so is nothing else", async (test) => {
  const { scheduler } = await setUp(test);
  const one = echo({ requestId: "r-1" });
  const two = echo({ requestId: "r-1" });
  const [a, b] = await Promise.all([scheduler.submit(one), scheduler.submit(two)]);
  assert.equal(a.jobId, b.jobId);
  assert.equal((await scheduler.submit(echo({ requestId: "r-1" }))).jobId, a.jobId);
  const [other] = await scheduler.submitAll([echo({ requestId: "r-1", digest: "another" })]);
  assert.ok(other?.outcome?.$case === "error");
  assert.deepEqual([other.outcome.value.code, other.outcome.value.reason], [6, "REQUEST_ID_REUSED"]);
  const job = echo();
  const [c, d, e] = await Promise.all([scheduler.submit(job), scheduler.submit(job), scheduler.submit(job)]);
  assert.deepEqual([d.jobId, e.jobId], [c.jobId, c.jobId]);
  assert.equal((await scheduler.submit(job)).revision, 1n);
  const both = await scheduler.submitAll([echo({ requestId: "r-2" }), echo({ requestId: "r-2" })]);
  const ids = both.map(({ outcome }) => (outcome?.$case === "job" ? outcome.value.jobId : ""));
  assert.equal(ids[0], ids[1]);
  assert.equal((await scheduler.stats()).totalJobs, 3n);
  // Known after a restart, from the store or the journal.
  await scheduler.restart();
  assert.equal((await scheduler.submit(echo({ requestId: "r-1" }))).jobId, a.jobId);
  assert.equal((await scheduler.submit(job)).jobId, job.jobId);
  assert.equal((await scheduler.get(a.jobId)).status, PENDING);
  assert.equal((await scheduler.stats()).totalJobs, 3n);
});

test("at the bound of active jobs a repeat is still the job that was taken", async (test) => {
  const { scheduler } = await setUp(test, { ARRW_MAX_ACTIVE_JOBS: "1" });
  const taken = echo({ requestId: "r-1" });
  const { jobId } = await scheduler.submit(taken);
  const plain = echo();
  assert.equal((await scheduler.submit(taken)).jobId, jobId);
  assert.equal((await scheduler.submit(echo({ jobId }))).jobId, jobId);
  const [refused] = await scheduler.submitAll([plain]);
  assert.equal(refused?.outcome?.$case === "error" && refused.outcome.value.code, 8);
  await scheduler.cancel(jobId);
  assert.equal((await scheduler.submit(plain)).jobId, plain.jobId);
});
