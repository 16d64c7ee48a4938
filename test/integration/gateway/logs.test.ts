import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { ArrwError } from "../../../platform/errors.ts";
import { serverStream } from "../../../platform/grpc/client.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { type GetJobLogsResponse, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { JobLogBatch } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestGateway, type TestGateway } from "../../support/gateway.ts";
import { hasListeners } from "../../support/nats.ts";

const {
  JOB_STATUS_PENDING: PENDING,
  JOB_STATUS_RUNNING: RUNNING,
  JOB_STATUS_COMPLETED: COMPLETED,
} = JobStatus;

interface Reading {
  readonly seen: GetJobLogsResponse[];
  /** Resolves with the status it ended with. */
  readonly ended: Promise<ArrwError | "OK">;
}

function read({ jobs }: TestGateway, jobId: string, follow: boolean, afterCursor = ""): Reading {
  const seen: GetJobLogsResponse[] = [];
  const run = async (): Promise<ArrwError | "OK"> => {
    try {
      const request = { jobId, follow, afterCursor };
      for await (const line of serverStream(jobs, jobs.getJobLogs, request, { timeoutMs: 30_000 })) {
        seen.push(line);
      }
      return "OK";
    } catch (error) {
      assert.ok(error instanceof ArrwError);
      return error;
    }
  };
  return { seen, ended: run() };
}

const texts = (seen: readonly GetJobLogsResponse[]): string[] => seen.map(({ line }) => line);

/** What a worker sends. */
async function append(
  { nats }: TestGateway,
  jobId: string,
  lease: number,
  firstLine: number,
  lines: readonly string[],
): Promise<void> {
  const batch = {
    jobId,
    lease: BigInt(lease),
    attempt: lease,
    firstLine,
    lines: lines.map((text) => ({ at: new Date(), level: "info", text })),
  };
  await nats.append(Subject.jobLog(jobId), JobLogBatch.encode(batch).finish(), { timeoutMs: 5_000 });
}

/** Whether the gateway listens to the logs. */
const isFollowed = ({ nats }: TestGateway): Promise<boolean> => hasListeners(nats, Subject.jobLogFeed("x"));

async function followers({ probes }: TestGateway): Promise<number> {
  const metrics = await (await fetch(`${probes}/metrics`)).text();
  return Number(/^arrw_log_followers\{[^}]*\} (\d+)/m.exec(metrics)?.[1]);
}

test("the lines of a job, in order, with their attempts; unknown jobs and cursors are refused", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: RUNNING });
  assert.equal(await read(gateway, "j", false).ended, "OK");
  await append(gateway, "j", 1, 1, ["a", "b"]);
  await append(gateway, "other", 1, 1, ["not mine"]);
  await append(gateway, "j", 2, 1, ["c"]);
  const { seen, ended } = read(gateway, "j", false);
  assert.equal(await ended, "OK");
  assert.deepEqual(
    seen.map(({ line, attempt, level }) => [line, attempt, level]),
    [
      ["a", 1, "info"],
      ["b", 1, "info"],
      ["c", 2, "info"],
    ],
  );
  assert.ok(Math.abs((seen[0]?.at?.getTime() ?? 0) - Date.now()) < 10_000);
  for (const follow of [false, true]) {
    assert.equal(((await read(gateway, "nobody", follow).ended) as ArrwError).reason, "JOB_NOT_FOUND");
    assert.equal(((await read(gateway, "a.>", follow).ended) as ArrwError).reason, "JOB_NOT_FOUND");
    const refused = (await read(gateway, "j", follow, "page 2").ended) as ArrwError;
    assert.deepEqual(
      [refused.code, refused.violations[0]?.field, refused.violations[0]?.description],
      ["INVALID_ARGUMENT", "after_cursor", 'the cursor of a line; got "page 2"'],
    );
  }
});

test("behind a cursor come only later lines, also within a message and after a repeat of it", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: COMPLETED });
  await append(gateway, "j", 3, 1, ["a", "b", "c"]);
  // Stored twice: its acknowledgement was lost.
  await append(gateway, "j", 3, 1, ["a", "b", "c"]);
  await append(gateway, "j", 3, 4, ["d"]);
  const all = read(gateway, "j", false);
  await all.ended;
  assert.deepEqual(texts(all.seen), ["a", "b", "c", "d"]);
  for (const [index, { cursor }] of all.seen.entries()) {
    for (const follow of [false, true]) {
      const rest = read(gateway, "j", follow, cursor);
      assert.equal(await rest.ended, "OK");
      assert.deepEqual(texts(rest.seen), ["a", "b", "c", "d"].slice(index + 1));
    }
  }
  // A cursor of a stream that was lost and made anew.
  const odd = read(gateway, "j", false, "999-3-9");
  await odd.ended;
  assert.equal(odd.seen.length, 4);
});

test("what an older lease says after a newer one, and a lease that the job never had, is left out", async (t) => {
  const gateway = await startTestGateway(t);
  const attempts = [2n, 5n].map((lease) => ({ ...NO_ATTEMPT, lease }));
  await gateway.scheduler.move("j", { status: COMPLETED, attempts });
  await append(gateway, "j", 2, 1, ["first"]);
  await append(gateway, "j", 4, 1, ["never"]);
  await append(gateway, "j", 5, 1, ["second"]);
  await append(gateway, "j", 2, 2, ["too late"]);
  await append(gateway, "j", 5, 2, ["end"]);
  for (const follow of [false, true]) {
    const { seen, ended } = read(gateway, "j", follow);
    assert.equal(await ended, "OK");
    assert.deepEqual(texts(seen), ["first", "second", "end"]);
  }
});

test("the newest 1,000 lines, or 256 KiB, are given", async (t) => {
  const gateway = await startTestGateway(t);
  for (const jobId of ["j", "k"]) await gateway.scheduler.move(jobId, { status: COMPLETED });
  for (let first = 1; first <= 1_500; first += 100) {
    await append(
      gateway,
      "j",
      1,
      first,
      Array.from({ length: 100 }, (_, n) => `line ${first + n}`),
    );
  }
  const many = read(gateway, "j", false);
  await many.ended;
  assert.deepEqual(
    [many.seen.length, many.seen[0]?.line, many.seen.at(-1)?.line],
    [1_000, "line 501", "line 1500"],
  );
  for (let line = 1; line <= 100; line++)
    await append(gateway, "k", 1, line, [`${line} ${"x".repeat(4_000)}`]);
  const large = read(gateway, "k", false);
  await large.ended;
  assert.ok(large.seen.length >= 60 && large.seen.length <= 65, `${large.seen.length} lines`);
  assert.match(large.seen.at(-1)?.line ?? "", /^100 /);
});

test("one job can't fill the stream: its oldest messages give way", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: COMPLETED });
  await append(gateway, "other", 1, 1, ["stays"]);
  const appends: Promise<void>[] = [];
  for (let line = 1; line <= 1_200; line++) appends.push(append(gateway, "j", 1, line, [`line ${line}`]));
  await Promise.all(appends);
  const subjects = await gateway.nats.streamSubjects(Stream.logs, Subject.jobLogs);
  assert.deepEqual(subjects, { "arrw.log.j": 1_000, "arrw.log.other": 1 });
  const { seen, ended } = read(gateway, "j", false);
  await ended;
  assert.deepEqual([seen.length, seen[0]?.line, seen.at(-1)?.line], [1_000, "line 201", "line 1200"]);
});

test("a follower gets lines as they come, and the end when the job has ended", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  await scheduler.move("j", { status: PENDING });
  const { seen, ended } = read(gateway, "j", true);
  await eventually(() => isFollowed(gateway));
  await scheduler.move("j", { status: RUNNING });
  await append(gateway, "j", 1, 1, ["a"]);
  await eventually(() => seen.length === 1);
  await append(gateway, "other", 1, 1, ["not mine"]);
  await append(gateway, "j", 1, 2, ["b", "c"]);
  await eventually(() => seen.length === 3);
  await append(gateway, "j", 2, 1, ["second attempt"]);
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(texts(seen), ["a", "b", "c", "second attempt"]);
  assert.equal(await followers(gateway), 0);
});

test("all that is stored when the job ends is sent, also what the live reader has not brought", async (t) => {
  const gateway = await startTestGateway(t);
  await gateway.scheduler.move("j", { status: RUNNING });
  const { seen, ended } = read(gateway, "j", true);
  await eventually(() => isFollowed(gateway));
  const appends = Array.from({ length: 500 }, (_, n) => append(gateway, "j", 1, n + 1, [`line ${n + 1}`]));
  await Promise.all(appends);
  await gateway.scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(
    texts(seen),
    Array.from({ length: 500 }, (_, n) => `line ${n + 1}`),
  );
});

test("1,000 followers of 500 jobs share one reader; those who leave free everything", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs } = gateway;
  const ids = Array.from({ length: 500 }, (_, n) => `job-${n}`);
  for (const jobId of ids) await scheduler.move(jobId, { status: RUNNING });
  for (const jobId of ids) await append(gateway, jobId, 1, 1, ["before"]);
  const reads = [...ids, ...ids].map((jobId) => read(gateway, jobId, true));
  await eventually(() => reads.every(({ seen }) => seen.length === 1), { timeoutMs: 30_000 });
  await eventually(() => isFollowed(gateway));
  assert.equal(await followers(gateway), 1_000);
  const leaving = jobs.getJobLogs({ jobId: "job-0", follow: true, afterCursor: "" });
  leaving.on("error", () => undefined);
  await once(leaving, "data");
  leaving.cancel();
  await eventually(async () => (await followers(gateway)) === 1_000);
  await Promise.all(ids.map((jobId) => append(gateway, jobId, 1, 2, ["after"])));
  await eventually(() => reads.every(({ seen }) => seen.length === 2), { timeoutMs: 30_000 });
  await scheduler.append([]);
  for (const jobId of ids) await scheduler.move(jobId, { status: COMPLETED });
  const ends = await Promise.all(reads.map(({ ended }) => ended));
  assert.ok(ends.every((end) => end === "OK"));
  assert.equal(await followers(gateway), 0);
  await eventually(async () => !(await isFollowed(gateway)), { timeoutMs: 15_000 });
});

test("a client that doesn't read costs bounded memory and gets the newest lines when it does", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, jobs } = gateway;
  await scheduler.move("j", { status: RUNNING });
  const stream = jobs.getJobLogs({ jobId: "j", follow: true, afterCursor: "" });
  const seen: GetJobLogsResponse[] = [];
  await append(gateway, "j", 1, 1, ["first"]);
  const [first] = await once(stream, "data");
  seen.push(first);
  stream.pause();
  const text = "x".repeat(4_000);
  for (let line = 2; line <= 1_000; line++) await append(gateway, "j", 1, line, [`${line} ${text}`]);
  await scheduler.move("j", { status: COMPLETED });
  const ended = once(stream, "end");
  stream.on("data", (line: GetJobLogsResponse) => seen.push(line));
  stream.resume();
  await ended;
  const numbers = texts(seen.slice(1)).map((line) => Number(line.split(" ")[0]));
  assert.deepEqual(
    numbers,
    [...new Set(numbers)].sort((a, b) => a - b),
  );
  assert.equal(numbers.at(-1), 1_000);
  t.diagnostic(`${numbers.length} of 999 lines`);
});

test("a restarted nats-server costs a follower no line", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler, natsServer } = gateway;
  await scheduler.move("j", { status: RUNNING });
  const { seen, ended } = read(gateway, "j", true);
  await append(gateway, "j", 1, 1, ["a"]);
  await eventually(() => seen.length === 1);
  await natsServer.kill();
  await natsServer.restart();
  await eventually(async () => {
    await append(gateway, "j", 1, 2, ["b"]);
    return true;
  });
  await eventually(() => seen.length === 2);
  await scheduler.move("j", { status: COMPLETED });
  assert.equal(await ended, "OK");
  assert.deepEqual(texts(seen), ["a", "b"]);
});

test("a deleted job ends its followers with NOT_FOUND, a stopping gateway with UNAVAILABLE", async (t) => {
  const gateway = await startTestGateway(t);
  const { scheduler } = gateway;
  for (const jobId of ["j", "k"]) await scheduler.move(jobId, { status: RUNNING });
  const deleted = read(gateway, "j", true);
  const stopped = read(gateway, "k", true);
  await append(gateway, "k", 1, 1, ["a"]);
  await append(gateway, "j", 1, 1, ["a"]);
  await eventually(() => deleted.seen.length === 1 && stopped.seen.length === 1);
  await scheduler.appendDeletion("j");
  assert.equal(((await deleted.ended) as ArrwError).code, "NOT_FOUND");
  const startedAt = performance.now();
  await gateway.stop();
  assert.ok(performance.now() - startedAt < 1_900);
  assert.equal(((await stopped.ended) as ArrwError).code, "UNAVAILABLE");
});

const NO_ATTEMPT = {
  attempt: 1,
  workerId: "",
  startedAt: undefined,
  endedAt: undefined,
  outcome: "",
  error: undefined,
};
