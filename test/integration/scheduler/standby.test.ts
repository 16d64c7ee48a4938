import assert from "node:assert/strict";
import { test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import { Stream } from "../../../platform/nats/names.ts";
import type { GetJobResponse, ListJobsResponse } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import { COMPLETED, echo, PENDING, RUNNING, setUp } from "./set-up.ts";

const getJob = ({ client }: SchedulerProcess, jobId: string): Promise<GetJobResponse> =>
  unary(client, client.getJob, { visibleLibraries: [], jobId }, { timeoutMs: 2_000 });

const list = ({ client }: SchedulerProcess): Promise<ListJobsResponse> => {
  const request = { visibleLibraries: [], filter: undefined, pageSize: 100, pageToken: "" };
  return unary(client, client.listJobs, request, { timeoutMs: 2_000 });
};

const standby = async (t: Parameters<typeof SchedulerProcess.start>[0], natsUrl: string) => {
  const env = { ARRW_LEASE_TIMEOUT_MS: "1000" };
  const second = await SchedulerProcess.start(t, { natsUrl, env, standby: true });
  await eventually(() => second.logged("following the journal").length > 0);
  return second;
};

test("a graceful stop hands over in under 1 s, and running jobs go on", async (test) => {
  const { t, server, scheduler: first, worker: startWorker } = await setUp(test);
  const worker = await startWorker();
  const running = await first.submit(echo());
  await eventually(() => worker.grants.length === 1);
  const second = await standby(t, server.url);
  const askedAtMs = performance.now();
  const gone = first.kill("SIGTERM");
  await second.leads();
  const tookMs = performance.now() - askedAtMs;
  assert.ok(tookMs < 1_000, `handed over after ${Math.round(tookMs)} ms`);
  await gone;
  assert.equal((await second.get(running.jobId)).status, RUNNING);
  await worker.report(worker.grants[0]?.lease ?? 0n, completed());
  await second.reaches(running.jobId, COMPLETED);
  assert.equal((await second.get(running.jobId)).losses, 0);
});

test("while NATS is away nobody leads: a standby answers reads, marked stale, and refuses the rest", async (test) => {
  const { t, server, scheduler: first, worker: startWorker } = await setUp(test);
  await startWorker({ answer: completed });
  const second = await standby(t, server.url);
  const ended = await first.submit(echo());
  const { revision } = await first.reaches(ended.jobId, COMPLETED);
  const waiting = await first.submit(echo({ type: "nobody runs this" }));
  await server.kill();
  const read = await eventually(() => getJob(second, ended.jobId), { timeoutMs: 10_000 });
  assert.ok(read.staleSequence > 0n);
  assert.deepEqual([read.job?.status, read.job?.revision], [COMPLETED, revision]);
  const page = await list(second);
  assert.deepEqual(
    page.jobs.map(({ jobId }) => jobId),
    [waiting.jobId, ended.jobId],
  );
  assert.equal(page.totalSize, 2n);
  assert.equal(page.staleSequence, read.staleSequence);
  assert.deepEqual([(await second.stats()).running, (await second.stats()).totalJobs], [false, 2n]);
  // It can't know what was acknowledged last: no NOT_FOUND, no writes. Nor of a job that the caller doesn't see.
  const hidden = { visibleLibraries: ["somewhere"], jobId: ended.jobId };
  const unknown = [
    getJob(second, echo().jobId),
    unary(second.client, second.client.getJob, hidden, { timeoutMs: 2_000 }),
  ];
  for (const answer of unknown)
    await assert.rejects(answer, { code: "UNAVAILABLE", message: /is not in the journal/ });
  const seen = await unary(
    second.client,
    second.client.listJobs,
    { visibleLibraries: ["somewhere"], filter: undefined, pageSize: 100, pageToken: "" },
    { timeoutMs: 2_000 },
  );
  assert.deepEqual([seen.jobs, seen.totalSize], [[], 0n]);
  await assert.rejects(second.submit(echo()), { code: "UNAVAILABLE", reason: "NOT_LEADING" });
  await server.restart();
  await eventually(async () => {
    const answers = await Promise.all(
      [first, second].map((each) => each.get(waiting.jobId).then(({ status }) => status === PENDING)),
    ).catch(() => undefined);
    return answers ?? (await Promise.any([first.submit(echo()), second.submit(echo())])) !== undefined;
  });
});

test("a standby follows hot: what the leader did last is there when it takes over, with its timers and limits", async (test) => {
  const { t, server, scheduler: first, worker: startWorker } = await setUp(test);
  const second = await standby(t, server.url);
  const worker = await startWorker({ slots: 10 });
  const runAt = new Date(Date.now() + 7_000);
  const scheduled = await first.submit(echo({ runAt }));
  const { client } = first;
  const paused = { type: "batch_export", paused: true, maxRunning: undefined };
  await unary(client, client.changeQueue, paused, { timeoutMs: 2_000 });
  const keyed: Job[] = [];
  for (let n = 0; n < 3; n++) keyed.push(await first.submit(echo({ concurrencyKey: "k" })));
  await eventually(() => worker.grants.length === 1);
  await first.kill();
  const killedAtMs = performance.now();
  await second.leads();
  assert.ok(performance.now() - killedAtMs < 6_000);
  const took = /"ms":(\d+)/.exec(second.logged("leading")[0] ?? "")?.[1];
  assert.ok(Number(took) < 1_000, `the takeover itself took ${took} ms`);
  assert.equal((await second.get(scheduled.jobId)).runAt?.getTime(), runAt.getTime());
  const types = (await second.stats()).byType;
  assert.equal(types.find(({ type }) => type === "batch_export")?.paused, true);
  // The one that runs holds the key; the others start one after the other.
  await worker.report(worker.grants[0]?.lease ?? 0n, completed());
  await eventually(() => worker.grants.some(({ jobId }) => jobId === keyed[1]?.jobId));
  assert.ok(!worker.grants.some(({ jobId }) => jobId === keyed[2]?.jobId));
  await eventually(() => worker.grants.some(({ jobId }) => jobId === scheduled.jobId));
});

test("a standby's store from before the journal was purged is rebuilt: no deleted job comes back", async (test) => {
  const { t, server, scheduler: first, nats, worker: startWorker } = await setUp(test);
  await startWorker({ slots: 50, answer: completed });
  const second = await standby(t, server.url);
  const jobs: Job[] = [];
  for (let n = 0; n < 20; n++) jobs.push(await first.submit(echo()));
  for (const { jobId } of jobs) await first.reaches(jobId, COMPLETED);
  const [deleted] = jobs;
  await second.kill("SIGTERM");
  const { client } = first;
  await unary(
    client,
    client.deleteJob,
    { visibleLibraries: [], jobId: deleted?.jobId ?? "" },
    { timeoutMs: 2_000 },
  );
  // What a compaction does: all but what the newest records need is gone, the tombstone too.
  const kept = await first.submit(echo({ type: "nobody runs this" }));
  const { lastSequence } = await nats.streamInfo(Stream.journal);
  await nats.purge(Stream.journal, { below: lastSequence });
  await first.kill();
  await second.start();
  await second.leads();
  const rebuilt = "the local store does not fit the journal: it is rebuilt from the journal";
  assert.equal(second.logged(rebuilt).length, 1);
  assert.equal((await second.get(kept.jobId)).status, PENDING);
  await assert.rejects(second.get(deleted?.jobId ?? ""), { code: "NOT_FOUND" });
});
