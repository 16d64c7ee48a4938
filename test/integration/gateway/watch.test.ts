import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { ServiceError } from "@grpc/grpc-js";
import { ArrwError } from "../../../platform/errors.ts";
import { serverStream, unary } from "../../../platform/grpc/client.ts";
import { Subject } from "../../../platform/nats/names.ts";
import { type Job, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { hasListeners } from "../../support/nats.ts";

const {
  JOB_STATUS_PENDING: PENDING,
  JOB_STATUS_RUNNING: RUNNING,
  JOB_STATUS_COMPLETED: COMPLETED,
} = JobStatus;

interface Watching {
  readonly seen: Job[];
  /** Resolves with the status it ended with. */
  readonly ended: Promise<ArrwError | "OK">;
}

function watch({ jobs }: TestGateway, jobId: string, afterRevision = 0n): Watching {
  const seen: Job[] = [];
  const run = async (): Promise<ArrwError | "OK"> => {
    try {
      const call = { timeoutMs: 20_000 };
      for await (const { job } of serverStream(jobs, jobs.watchJob, { jobId, afterRevision }, call)) {
        if (job) seen.push(job);
      }
      return "OK";
    } catch (error) {
      assert.ok(error instanceof ArrwError);
      return error;
    }
  };
  return { seen, ended: run() };
}

const revisions = (seen: readonly Job[]): number[] => seen.map(({ revision }) => Number(revision));

function progress(current: number, total = 10) {
  return { current: BigInt(current), total: BigInt(total), message: "", percentage: (100 * current) / total };
}

test("the job as it is, then every revision, then OK", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: PENDING });
  await scheduler.move("j", { status: RUNNING });
  const startedAt = performance.now();
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1, { intervalMs: 1 });
  assert.ok(performance.now() - startedAt < 200);
  await scheduler.move("other", { status: RUNNING });
  await scheduler.move("j", { status: RUNNING, workerId: "w" });
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [2, 3, 4]);
  assert.equal(seen.at(-1)?.status, COMPLETED);
});

test("an ended job: one message; one that the client knows: none", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: COMPLETED });
  const first = watch(gateway, "j");
  assert.equal(await first.ended, "OK");
  assert.deepEqual(revisions(first.seen), [1]);
  const again = watch(gateway, "j", 1n);
  assert.equal(await again.ended, "OK");
  assert.deepEqual(again.seen, []);
});

test("an active job that the client knows: only what is newer", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: PENDING });
  const { seen, ended } = watch(gateway, "j", 1n);
  await eventually(() => scheduler.reads === 1);
  await scheduler.move("j", { status: RUNNING });
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [2, 3]);
});

test("an unknown job, a malformed id, a negative revision", async (t) => {
  const gateway = await startTestGateway(t);
  const codes = await Promise.all(
    [watch(gateway, "nobody"), watch(gateway, "no body!"), watch(gateway, ""), watch(gateway, "j", -1n)].map(
      async ({ ended }) => ((await ended) as ArrwError).code,
    ),
  );
  assert.deepEqual(codes, ["NOT_FOUND", "NOT_FOUND", "NOT_FOUND", "INVALID_ARGUMENT"]);
});

test("a job that is deleted meanwhile ends its watch with NOT_FOUND", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: PENDING });
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1);
  await gateway.scheduler.appendDeletion("j");
  assert.equal(((await ended) as ArrwError).code, "NOT_FOUND");
});

test("transitions between the subscription and the read come once", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: PENDING });
  scheduler.onRead = async () => {
    scheduler.onRead = undefined;
    await scheduler.move("j", { status: RUNNING });
  };
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length >= 1);
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [1, 2, 3]);
});

test("a record that the journal had before the scheduler knew is not lost", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  const known = await scheduler.move("j", { status: PENDING });
  await scheduler.append([{ ...known, revision: 2n, status: COMPLETED }]);
  const { seen, ended } = watch(gateway, "j");
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [1, 2]);
  // The same for a watch that joins while the journal is followed already.
  const other = await scheduler.move("k", { status: PENDING });
  await scheduler.append([{ ...other, revision: 2n, status: COMPLETED }]);
  const late = watch(gateway, "k");
  assert.equal(await late.ended, "OK");
  assert.deepEqual(revisions(late.seen), [1, 2]);
});

test("progress repeats the revision, and never steps back", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: RUNNING, attempt: 1 });
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1);
  scheduler.report("j", 1n, progress(2));
  await eventually(() => seen.length === 2);
  scheduler.report("j", 1n, progress(1));
  scheduler.report("j", 0n, progress(9));
  scheduler.report("j", 1n, progress(5));
  await eventually(() => seen.length === 3);
  // A checkpoint's record is behind what was reported.
  await scheduler.move("j", { attempt: 1, progress: progress(4) });
  await eventually(() => seen.length === 4);
  await scheduler.move("j", { status: COMPLETED, progress: progress(10) });
  assert.equal(await ended, "OK");
  const shown = seen.map((job) => [Number(job.revision), Number(job.progress?.current ?? 0)]);
  assert.deepEqual(shown, [
    [1, 0],
    [1, 2],
    [1, 5],
    [2, 5],
    [3, 10],
  ]);
});

test("1,000 watchers of one job: one subscription, everybody gets everything", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, nats } = gateway;
  await scheduler.move("j", { status: RUNNING });
  const watchers = Array.from({ length: 1_000 }, () => watch(gateway, "j"));
  await eventually(() => watchers.every(({ seen }) => seen.length === 1), { timeoutMs: 20_000 });
  const metrics = await (await fetch(`${gateway.probes}/metrics`)).text();
  assert.match(metrics, /arrw_watch_streams\{[^}]*\} 1000/);
  assert.ok(await hasListeners(nats, Subject.journalFeed));
  await scheduler.move("j", { status: COMPLETED });
  const ends = await Promise.all(watchers.map(({ ended }) => ended));
  assert.ok(ends.every((end) => end === "OK"));
  assert.ok(watchers.every(({ seen }) => seen.length === 2));
});

test("a restarted nats-server costs no transition", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, natsServer } = gateway;
  await scheduler.move("j", { status: RUNNING });
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1);
  await natsServer.kill();
  await natsServer.restart();
  await eventually(async () => {
    await scheduler.append([]);
    return true;
  });
  await scheduler.move("j", { workerId: "w" });
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [1, 2, 3]);
});

test("after another leader took over, the scheduler's word closes what the journal left open", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: RUNNING });
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1);
  await scheduler.move("j", { status: COMPLETED }, false);
  await scheduler.append([], "127.0.0.1:1");
  assert.equal(await ended, "OK");
  assert.deepEqual(revisions(seen), [1, 2]);
});

test("the first message comes within 50 ms", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: RUNNING });
  const { jobs } = gateway;
  await unary(jobs, jobs.getJob, { jobId: "j" }, { timeoutMs: 5_000 });
  const latencies: number[] = [];
  for (let round = 0; round < 20; round++) {
    const startedAt = performance.now();
    const call = { timeoutMs: 5_000 };
    for await (const _ of serverStream(jobs, jobs.watchJob, { jobId: "j", afterRevision: 0n }, call)) break;
    latencies.push(performance.now() - startedAt);
  }
  latencies.sort((a, b) => a - b);
  t.diagnostic(`cold or warm, ms: ${latencies.map((each) => each.toFixed(1)).join(" ")}`);
  assert.ok((latencies[10] ?? 1_000) < 50);
});

test("a client that doesn't read gets the newest progress, every transition, or a clear end", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs } = gateway;
  await scheduler.move("j", { status: RUNNING, waitingFor: "x".repeat(16_000) });
  const stream = jobs.watchJob({ jobId: "j", afterRevision: 0n });
  const seen: Job[] = [];
  await new Promise<void>((resolve) => {
    stream.once("data", ({ job }: { job: Job }) => {
      seen.push(job);
      stream.pause();
      resolve();
    });
  });
  for (let at = 1; at <= 1_000; at++) scheduler.report("j", 1n, progress(at, 2_000));
  for (let at = 0; at < 300; at++) await scheduler.move("j", {});
  await scheduler.move("j", { status: COMPLETED });
  const coalesced = async (): Promise<number> => {
    const metrics = await (await fetch(`${gateway.probes}/metrics`)).text();
    return Number(/arrw_watch_progress_coalesced_total\{[^}]*\} (\d+)/.exec(metrics)?.[1]);
  };
  await eventually(async () => (await coalesced()) > 500);
  const ended = once(stream, "end");
  stream.on("data", ({ job }: { job: Job }) => seen.push(job));
  stream.resume();
  await ended;
  const transitions = [...new Set(revisions(seen))];
  assert.deepEqual(
    transitions,
    Array.from({ length: 302 }, (_, at) => at + 1),
  );
  assert.deepEqual(
    revisions(seen),
    revisions(seen).sort((a, b) => a - b),
  );
});

test("a client more than 1,000 transitions behind is told so", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs } = gateway;
  await scheduler.move("j", { status: RUNNING, waitingFor: "x".repeat(16_000) });
  const stream = jobs.watchJob({ jobId: "j", afterRevision: 0n });
  await new Promise<void>((resolve) => {
    stream.once("data", () => {
      stream.pause();
      resolve();
    });
  });
  await Promise.all(Array.from({ length: 2_500 }, () => scheduler.move("j", {})));
  const ended = new Promise<number>((resolve) => {
    stream.on("error", (error: ServiceError) => resolve(error.code));
  });
  const metrics = async (): Promise<string> => (await fetch(`${gateway.probes}/metrics`)).text();
  await eventually(async () => /arrw_watch_overflows_total\{[^}]*\} 1/.test(await metrics()));
  stream.on("data", () => undefined);
  stream.resume();
  assert.equal(await ended, 8);
});

test("a stopping gateway ends its watches with UNAVAILABLE, quickly", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: RUNNING });
  const { seen, ended } = watch(gateway, "j");
  await eventually(() => seen.length === 1);
  const startedAt = performance.now();
  await gateway.stop();
  assert.ok(performance.now() - startedAt < 1_900);
  assert.equal(((await ended) as ArrwError).code, "UNAVAILABLE");
});
