import assert from "node:assert/strict";
import { test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { serverStream } from "../../../platform/grpc/client.ts";
import { type Job, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";

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
  assert.equal(await consumersOf(nats), 1);
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

async function consumersOf(nats: TestGateway["nats"]): Promise<number> {
  const reply = await nats.request("$JS.API.STREAM.INFO.JOURNAL", new Uint8Array(), 5_000);
  return JSON.parse(new TextDecoder().decode(reply)).state.consumer_count;
}
