import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrwClient, type Job, JobStatus } from "../../../client/index.ts";
import type { DeepPartial, EchoSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startGateway } from "../../support/gateway.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import type { Cleanup } from "../../support/temp.ts";
import { startWorker } from "../worker/harness.ts";

/** What operators and clients do to jobs, with a real scheduler, real workers and a gateway. */

const { JOB_STATUS_COMPLETED: COMPLETED, JOB_STATUS_FAILED: FAILED } = JobStatus;
const { JOB_STATUS_PENDING: PENDING, JOB_STATUS_RUNNING: RUNNING } = JobStatus;

const echo = (value: DeepPartial<EchoSpec> = {}) => ({ spec: { $case: "echo" as const, value } });
const ms = (value: number) => ({
  seconds: BigInt(Math.floor(value / 1_000)),
  nanos: (value % 1_000) * 1_000_000,
});
const attemptsOf = ({ attempts }: Job) => attempts.map(({ attempt, outcome }) => [attempt, outcome]);

async function start(test: Cleanup, workers = 1) {
  const t = reversed(test);
  const { url } = await startTestNats(t);
  const scheduler = await SchedulerProcess.start(t, { natsUrl: url });
  const gateway = await startGateway(t, { natsUrl: url, schedulers: [scheduler.address] });
  const client = new ArrwClient({ address: gateway.address, timeoutMs: 20_000 });
  t.after(() => client.close());
  const started = [];
  for (let n = 0; n < workers; n++) started.push((await startWorker(t, url)).worker);
  await eventually(async () => (await client.queues.workers()).length === workers);
  const workerIds = started.map(({ workerId }) => workerId);
  const waitsFor = (jobId: string, text: RegExp) =>
    eventually(async () => {
      const job = await client.get(jobId);
      assert.match(job.waitingFor, text);
      return job;
    });
  return { scheduler, client, workerIds, waitsFor };
}

test("a failed job is retried once, whoever asks how often, and its attempts tell all", async (t) => {
  const { client } = await start(t);
  const { jobId } = await client.submit({ maxRetries: 0, spec: echo({ failTimes: 1, message: "hi" }) });
  const failed = await client.wait(jobId);
  assert.deepEqual([failed.status, failed.error?.code], [FAILED, "ECHO_FAILED"]);
  await assert.rejects(client.retry("no-such-job"), { code: "NOT_FOUND" });
  const watched: JobStatus[] = [];
  const watching = (async () => {
    for await (const { status } of client.watch(jobId, { afterRevision: failed.revision }))
      watched.push(status);
  })();
  await watching;
  assert.deepEqual(watched, [], "nothing is newer than the end");
  const { revision: endedRevision } = failed;
  const asked = await Promise.all(Array.from({ length: 5 }, () => client.retry(jobId, { endedRevision })));
  assert.ok(asked.every(({ revision }) => revision > endedRevision));
  const completed = await client.wait(jobId);
  assert.equal(completed.status, COMPLETED);
  assert.deepEqual(attemptsOf(completed), [
    [1, "failed"],
    [2, "completed"],
  ]);
  assert.equal(completed.attempts[0]?.error?.code, "ECHO_FAILED");
  assert.deepEqual([completed.retries, completed.losses, completed.error], [0, 0, undefined]);
  // It has gone on since: still the same retry.
  assert.equal((await client.retry(jobId, { endedRevision })).revision, completed.revision);
});

test("a deleted job is gone, and its request_id is free for another body", async (t) => {
  const { client } = await start(t);
  const { jobId } = await client.submit({ requestId: "r", spec: echo({ message: "one" }) });
  await client.wait(jobId);
  const other = { requestId: "r", spec: echo({ message: "two" }) };
  await assert.rejects(client.submit(other), { code: "ALREADY_EXISTS" });
  await client.delete(jobId);
  await assert.rejects(client.get(jobId), { code: "NOT_FOUND", reason: "JOB_NOT_FOUND" });
  await assert.rejects(client.delete(jobId), { code: "NOT_FOUND" });
  await assert.rejects(client.retry(jobId), { code: "NOT_FOUND" });
  const again = await client.submit(other);
  assert.notEqual(again.jobId, jobId);
  await client.wait(again.jobId);
});

test("bulk: retried, deleted and cancelled by filter, in parts, with counts", async (t) => {
  const { client } = await start(t);
  const labels = { batch: "7" };
  const requests = Array.from({ length: 30 }, (_, n) => ({
    labels,
    maxRetries: 0,
    spec: echo({ failTimes: n < 20 ? 1 : 0 }),
  }));
  await client.submitAll(requests);
  const { jobId: other } = await client.submit({ maxRetries: 0, spec: echo({ failTimes: 1 }) });
  const count = async (status: JobStatus): Promise<number> =>
    Number((await client.list({ filter: { statuses: [status], labels } })).jobs.length);
  await eventually(async () => (await count(FAILED)) === 20 && (await count(COMPLETED)) === 10);
  await client.wait(other);
  const retried = await client.retryJobs({ filter: { labels }, limit: 15 });
  assert.deepEqual([retried.changedJobs, retried.hasMore], [15n, true]);
  const rest = await client.retryJobs({ filter: { labels }, limit: 15 });
  assert.equal(rest.changedJobs, 5n);
  await eventually(async () => (await count(COMPLETED)) === 30);
  assert.equal((await client.get(other)).status, FAILED);
  const deleted = await client.deleteJobs({ filter: { labels, statuses: [COMPLETED] } });
  assert.deepEqual([deleted.changedJobs, deleted.skippedJobs, deleted.hasMore], [30n, 0n, false]);
  assert.equal((await client.list()).totalSize, 1n);
  await assert.rejects(client.deleteJobs({ filter: {} }), { code: "INVALID_ARGUMENT" });
  await client.submitAll(Array.from({ length: 6 }, () => ({ spec: echo({ sleep: ms(60_000) }) })));
  const cancelled = await client.cancelJobs({ all: true }, { reason: "enough" });
  assert.equal(cancelled.changedJobs, 6n);
  await eventually(async () => (await client.stats()).cancelledJobs === 6n);
});

test("a pause is kept by a scheduler that is killed; jobs say what they wait for", async (t) => {
  const { client, scheduler, waitsFor } = await start(t);
  assert.deepEqual((await client.queues.pause("echo")).paused, true);
  const { jobId } = await client.submit({ spec: echo() });
  await waitsFor(jobId, /^the queue echo is paused$/);
  await scheduler.restart();
  await waitsFor(jobId, /^the queue echo is paused$/);
  const stats = await client.stats();
  const shown = stats.byType.map(({ type, paused, pendingJobs }) => [type, paused, pendingJobs]);
  assert.deepEqual(shown, [["echo", true, 1n]]);
  await client.queues.pause();
  await client.queues.resume("echo");
  await waitsFor(jobId, /^all queues are paused$/);
  assert.equal((await client.stats()).running, false);
  await client.queues.resume();
  assert.equal((await client.wait(jobId)).status, COMPLETED);
});

test("limits of a type and of a key hold over several workers", async (t) => {
  const { client, waitsFor } = await start(t, 2);
  const run = async (request: Parameters<ArrwClient["submit"]>[0], atMost: number, text: RegExp) => {
    const labels = { limit: String(text) };
    const spec = echo({ sleep: ms(300) });
    const results = await client.submitAll(Array.from({ length: 6 }, () => ({ labels, spec, ...request })));
    const ids = results.map(({ outcome }) => (outcome?.$case === "job" ? outcome.value.jobId : ""));
    await waitsFor(ids.at(-1) ?? "", text);
    let most = 0;
    await eventually(async () => {
      const { jobs } = await client.list({ filter: { labels } });
      most = Math.max(most, jobs.filter(({ status }) => status === RUNNING).length);
      assert.ok(most <= atMost, `${most} ran at a time`);
      return jobs.every(({ status }) => status === COMPLETED);
    });
    const ended = await Promise.all(ids.map((jobId) => client.get(jobId)));
    assert.ok(overlap(ended) <= atMost && most === atMost, `${overlap(ended)}, ${most}`);
    assert.ok(new Set(ended.map(({ workerId }) => workerId)).size > 1 || atMost === 1);
  };
  await client.queues.setLimit("echo", 2);
  await run({}, 2, /^jobs of type echo: 2 running/);
  await client.queues.setLimit("echo", 0);
  await run({ concurrencyKey: "tenant-7" }, 1, /^jobs with concurrency_key "tenant-7": 1 of 1/);
  await run({ concurrencyKey: "tenant-8", concurrencyLimit: 3 }, 3, /"tenant-8": 3 of 3/);
});

/** Jobs that ran at the same time at most. */
function overlap(jobs: readonly Job[]): number {
  const events = jobs.flatMap(({ startedAt, completedAt }) => [
    { at: startedAt?.getTime() ?? 0, by: 1 },
    { at: completedAt?.getTime() ?? 0, by: -1 },
  ]);
  let [now, most] = [0, 0];
  for (const { by } of events.sort((a, b) => a.at - b.at || a.by - b.by)) {
    now += by;
    most = Math.max(most, now);
  }
  return most;
}

test("a drained worker finishes what it has and gets nothing more; the other one does", async (t) => {
  const { client, workerIds } = await start(t, 2);
  const slow = await client.submit({ spec: echo({ sleep: ms(2_000) }) });
  const running = await eventually(async () => {
    const job = await client.get(slow.jobId);
    return job.status === RUNNING ? job : undefined;
  });
  const drained = await client.queues.drain(running.workerId);
  assert.deepEqual([drained.draining, drained.leases.map(({ jobId }) => jobId)], [true, [slow.jobId]]);
  const results = await client.submitAll(Array.from({ length: 8 }, () => ({ spec: echo() })));
  const ids = results.map(({ outcome }) => (outcome?.$case === "job" ? outcome.value.jobId : ""));
  const jobs = await Promise.all(ids.map((jobId) => client.wait(jobId)));
  const other = workerIds.find((id) => id !== running.workerId);
  assert.deepEqual([...new Set(jobs.map(({ workerId }) => workerId))], [other]);
  const ended = await client.wait(slow.jobId);
  assert.deepEqual([ended.status, attemptsOf(ended)], [COMPLETED, [[1, "completed"]]]);
  const workers = await client.queues.workers();
  assert.deepEqual(
    workers.map(({ workerId, draining }) => [workerId, draining]).sort(),
    workerIds.map((id) => [id, id === running.workerId]).sort(),
  );
  await assert.rejects(client.queues.drain("nobody"), { code: "NOT_FOUND" });
});

test("snoozes count as neither attempts nor losses; a total timeout ends all of it", async (t) => {
  const { client } = await start(t);
  const policy = { backoffInitial: ms(50), jitter: 0 };
  const spec = echo({ snoozeTimes: 2, snooze: ms(150), failTimes: 1, message: "late" });
  const snoozed = await client.wait((await client.submit({ spec, retryPolicy: policy })).jobId);
  assert.deepEqual([snoozed.status, snoozed.attempt, snoozed.retries, snoozed.losses], [COMPLETED, 2, 1, 0]);
  assert.deepEqual(attemptsOf(snoozed), [
    [1, "released"],
    [1, "released"],
    [1, "failed"],
    [2, "completed"],
  ]);
  const [first, second] = snoozed.attempts;
  const waitedMs = (second?.startedAt?.getTime() ?? 0) - (first?.endedAt?.getTime() ?? 0);
  assert.ok(waitedMs >= 150 && waitedMs < 1_000, `${waitedMs} ms`);

  const within = { totalTimeout: ms(600) };
  const runs = await client.submit({ ...within, spec: echo({ sleep: ms(60_000) }) });
  const late = { backoffInitial: ms(5_000), jitter: 0 };
  const retries = await client.submit({ ...within, retryPolicy: late, spec: echo({ failTimes: 9 }) });
  const snoozes = await client.submit({ ...within, spec: echo({ snoozeTimes: 9, snooze: ms(60_000) }) });
  const [stopped, failed, asleep] = await Promise.all(
    [runs, retries, snoozes].map(({ jobId }) => client.wait(jobId)),
  );
  for (const job of [stopped, failed, asleep]) {
    assert.deepEqual([job?.status, job?.error?.code], [FAILED, "DEADLINE_EXCEEDED"]);
    const took = (job?.completedAt?.getTime() ?? 0) - (job?.createdAt?.getTime() ?? 0);
    assert.ok(took < 2_000, `${took} ms`);
  }
  assert.deepEqual(stopped && attemptsOf(stopped), [[1, "timed_out"]]);
  assert.match(failed?.error?.message ?? "", /ECHO_FAILED/);
  assert.equal((await client.list({ filter: { statuses: [PENDING, RUNNING] } })).totalSize, 0n);
});
