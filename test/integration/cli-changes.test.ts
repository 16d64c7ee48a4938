import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type System, startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { arrw, type CliResult, userEnv } from "../support/arrw.ts";

// One system for all tests here: it takes seconds to start.
let system: System;
let client: ArrwClient;
before(async () => {
  system = await startSystem({ env: userEnv(), temporary: true, syncAlways: false });
  client = new ArrwClient({ address: system.address });
});
after(async () => {
  client.close();
  await system.stop();
});

function run(args: readonly string[]): Promise<CliResult> {
  return arrw(system.address, args);
}

/** The objects that a command with --json prints. */
async function json(args: readonly string[]): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await run([...args, "--json"]);
  assert.equal(code, 0, stderr);
  const lines = stdout.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("jobs are retried, cancelled and deleted, named or by filter, with counts", async () => {
  const labels = { test: "changes" };
  const spec = { spec: { $case: "echo" as const, value: { failTimes: 1 } } };
  const jobs = await Promise.all([1, 2, 3].map(() => client.submit({ labels, maxRetries: 0, spec })));
  const [first, second, third] = jobs.map(({ jobId }) => jobId);
  assert.ok(first && second && third);
  for (const { jobId } of jobs) await client.wait(jobId);
  const retried = await run(["jobs", "retry", first]);
  assert.match(retried.stdout, /^runs again, (pending|running|completed)\n$/);
  await client.wait(first);
  const details = await run(["jobs", "get", first]);
  assert.match(
    details.stdout,
    /\n {2}ATTEMPT +OUTCOME +STARTED .*\n +1 {2}failed .*ECHO_FAILED.*\n +2 {2}completed /,
  );
  const bulk = ["--label", "test=changes"];
  assert.deepEqual(await json(["jobs", "retry", ...bulk, "--yes"]), [{ changed_jobs: 2, skipped_jobs: 0 }]);
  for (const jobId of [second, third]) await client.wait(jobId);
  assert.equal((await run(["jobs", "retry", ...bulk, "--yes"])).stdout, "no jobs match\n");
  const several = await run(["jobs", "delete", first, "nope"]);
  assert.equal(several.code, 4);
  assert.equal(several.stdout, `${first}  deleted\n`);
  assert.equal(several.stderr, 'error: job "nope" does not exist\n');
  const unsure = await run(["jobs", "delete", ...bulk]);
  assert.deepEqual([unsure.code, unsure.stderr], [2, "error: this would delete 2 jobs: say --yes\n"]);
  assert.equal((await run(["jobs", "delete", ...bulk, "-y"])).stdout, "2 jobs deleted\n");
  assert.deepEqual(await json(["jobs", "list", ...bulk]), []);
  const slow = { spec: { $case: "echo" as const, value: { sleep: { seconds: 300 } } } };
  const { jobId } = await client.submit({ labels, spec: slow });
  assert.match(
    (await run(["jobs", "retry", jobId])).stderr,
    /^error: job \S+ has not ended; cancel it first\n$/,
  );
  const cancelled = await run(["jobs", "cancel", ...bulk, "--type", "echo", "--reason", "enough", "--yes"]);
  assert.equal(cancelled.stdout, "1 job cancelled or told to stop\n");
  assert.equal((await client.wait(jobId)).cancelRequested, true);
});

test("queues are paused, limited and listed; a job says what it waits for", async () => {
  assert.equal((await run(["queue", "limit", "echo", "3"])).stdout, "echo: running, at most 3 at a time\n");
  assert.equal((await run(["queue", "pause", "echo"])).stdout, "echo: paused, at most 3 at a time\n");
  const submitted = await client.submit({
    totalTimeout: { seconds: 3_600 },
    executionTimeout: { seconds: 90 },
    concurrencyKey: "tenant-7",
    retryPolicy: { backoffInitial: { seconds: 2 }, jitter: 0 },
    spec: { spec: { $case: "echo", value: {} } },
  });
  const shown = (await run(["jobs", "get", submitted.jobId])).stdout;
  for (const line of [
    /\n {2}waits for +the queue echo is paused\n/,
    /\n {2}backoff +2\.00 s, times 2 up to 5 min 00 s, jitter 0\n/,
    /\n {2}attempt may take +1 min 30 s\n/,
    /\n {2}job may take +1 h 00 min\n/,
    /\n {2}concurrency key +tenant-7, at most 1 at a time\n/,
  ]) {
    assert.match(shown, line);
  }
  const list = await run(["queue", "list"]);
  assert.match(
    list.stdout,
    /^TYPE +PENDING +RUNNING +LIMIT +OLDEST WAITS\necho +1 +0 +3 +[\d.]+ s +paused\n$/,
  );
  const [queue] = await json(["queue", "pause"]);
  assert.deepEqual(queue, { type: "", paused: true, max_running: 0 });
  assert.match((await run(["queue", "list"])).stdout, /^all queues are paused\n/);
  await run(["queue", "resume"]);
  await run(["queue", "resume", "echo"]);
  assert.equal((await run(["queue", "limit", "echo", "0"])).stdout, "echo: running\n");
  await client.wait(submitted.jobId);
});

test("workers are listed", async () => {
  const { stdout } = await run(["workers", "list"]);
  assert.match(
    stdout,
    /^WORKER +HOST +VERSION +SLOTS +TYPES +UP FOR +HEARD\n\S+ +\S+ +\S+ +0 of 4 +batch_delete, .*regenerate_embeddings /,
  );
  const [worker] = await json(["workers", "list"]);
  assert.deepEqual([worker?.slots, worker?.draining, worker?.leases], [4, false, []]);
});
