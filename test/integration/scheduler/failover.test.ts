import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { Subject } from "../../../platform/nats/names.ts";
import { JournalBatch } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import { SchedulerProcess } from "../../support/scheduler-process.ts";
import { COMPLETED, ENDED, echo, journalOf, PENDING, RUNNING, setUp } from "./set-up.ts";

test("killed at random moments under load, nothing acknowledged is lost and every job ends exactly once", async (test) => {
  const { scheduler, nats, worker: startWorker } = await setUp(test);
  for (let n = 0; n < 2; n++) await startWorker({ slots: 50, answer: completed });
  const acknowledged = new Set<string>();
  const loading = { on: true };
  const submitAlways = async (): Promise<void> => {
    while (loading.on) {
      const submissions = Array.from({ length: 10 }, () => echo({ requestId: uuidv7() }));
      // The same request again under a new job id, as a client repeats it: one job all the same.
      const repeats = submissions.map((each) => ({ ...each, jobId: uuidv7() }) as Submission);
      const results = await Promise.all([
        scheduler.submitUntilDurable(submissions),
        scheduler.submitUntilDurable(repeats),
      ]);
      for (let n = 0; n < submissions.length; n++) {
        const [a, b] = results.map((each) => each[n]?.outcome);
        assert.ok(a?.$case === "job" && b?.$case === "job");
        assert.equal(a.value.jobId, b.value.jobId);
        acknowledged.add(a.value.jobId);
      }
    }
  };
  const clients = [submitAlways(), submitAlways(), submitAlways()];
  for (let kill = 0; kill < 3; kill++) {
    await sleep(200 + Math.random() * 800);
    await scheduler.kill();
    await scheduler.start();
    await scheduler.leads();
  }
  loading.on = false;
  await Promise.all(clients);
  await eventually(async () => (await scheduler.stats()).completedJobs === BigInt(acknowledged.size), {
    timeoutMs: 20_000,
    what: "all jobs end",
  });
  const { records, batches } = await journalOf(nats);
  const ends = new Map<string, number>();
  for (const { jobId, event, state } of records) {
    if (event !== "" && state?.job && ENDED.has(state.job.status))
      ends.set(jobId, (ends.get(jobId) ?? 0) + 1);
  }
  assert.deepEqual([...ends.keys()].sort(), [...acknowledged].sort());
  assert.ok([...ends.values()].every((count) => count === 1));
  // Leases are unique and grow; how far OUTCOMES is taken up never goes back.
  const leases = records
    .filter(({ event }) => event === "job.started")
    .map(({ state }) => state?.lease ?? 0n);
  assert.deepEqual(
    leases,
    [...new Set(leases)].sort((a, b) => Number(a - b)),
  );
  const through = batches.map(({ outcomesThrough }) => outcomesThrough);
  assert.deepEqual(
    through,
    [...through].sort((a, b) => Number(a - b)),
  );
  assert.equal((await scheduler.list({}, 1)).totalSize, BigInt(acknowledged.size));
});

test("the store may be lost, broken or another journal's: it is rebuilt, and totals stay exact", async (test) => {
  const { server, scheduler, worker: startWorker } = await setUp(test);
  const worker = await startWorker({ slots: 1 });
  const jobs: Job[] = [];
  for (let n = 0; n < 30; n++) jobs.push(await scheduler.submit(echo({ requestId: `r-${n}` })));
  await eventually(() => worker.grants.length === 1);
  const check = async (): Promise<void> => {
    const list = await scheduler.list({}, 100);
    assert.equal(list.totalSize, 30n);
    assert.deepEqual(
      list.jobs.map(({ jobId }) => jobId),
      jobs
        .map(({ jobId }) => jobId)
        .sort()
        .reverse(),
    );
    const stats = await scheduler.stats();
    assert.deepEqual([stats.pendingJobs, stats.runningJobs], [29n, 1n]);
    assert.equal((await scheduler.submit(echo({ requestId: "r-7" }))).jobId, jobs[7]?.jobId);
  };
  await check();
  await scheduler.kill();
  await rm(scheduler.storeFolder, { recursive: true });
  await scheduler.start();
  await scheduler.leads();
  await check();
  await scheduler.kill();
  await writeFile(join(scheduler.storeFolder, "data.mdb"), Buffer.alloc(64 * 1024, "garbage"));
  // LMDB takes the process down with it, once.
  await scheduler.start();
  await scheduler.exited;
  await scheduler.start();
  await scheduler.leads();
  await check();
  // All of NATS is new: the store, which a stop has written, speaks of a journal that is gone.
  await scheduler.kill("SIGTERM");
  await server.kill();
  await rm(join(server.storeDir, "jetstream"), { recursive: true });
  await server.restart();
  await scheduler.start();
  await scheduler.leads();
  assert.deepEqual([(await scheduler.list()).totalSize, (await scheduler.stats()).totalJobs], [0n, 0n]);
  assert.equal(
    scheduler.logged("the local store does not fit the journal: it is rebuilt from the journal").length,
    1,
  );
  const fresh = await scheduler.submit(echo());
  assert.equal((await scheduler.get(fresh.jobId)).jobId, fresh.jobId);
});

test("after NATS was killed, and after another wrote to the journal, it leads again by itself", async (test) => {
  const { server, scheduler, nats, worker: startWorker } = await setUp(test);
  await startWorker({ answer: completed });
  const before = await scheduler.submit(echo());
  await scheduler.reaches(before.jobId, COMPLETED);
  await server.kill();
  const meanwhile = scheduler.submitUntilDurable([echo()]);
  await sleep(300);
  await server.restart();
  const [result] = await meanwhile;
  assert.ok(result?.outcome?.$case === "job");
  await scheduler.reaches(result.outcome.value.jobId, COMPLETED);

  const terms = scheduler.logged("leading").length;
  const intruder = JournalBatch.encode(JournalBatch.fromPartial({ version: 1, epoch: 1n })).finish();
  await eventually(() => nats.append(Subject.journal, intruder, { timeoutMs: 1_000 }));
  const refused = echo();
  await assert.rejects(scheduler.submit(refused), { code: "UNAVAILABLE" });
  const [again] = await scheduler.submitUntilDurable([refused]);
  assert.equal(again?.outcome?.$case === "job" && again.outcome.value.jobId, refused.jobId);
  assert.equal(scheduler.logged("leading").length, terms + 1);
  await scheduler.reaches(refused.jobId, COMPLETED);
  assert.equal((await scheduler.get(before.jobId)).status, COMPLETED);
});

test("of two schedulers one leads; the other takes over within 6 s, and the first refuses when it wakes up", async (test) => {
  const { t, server, scheduler: first, worker: startWorker } = await setUp(test);
  const env = { ARRW_LEASE_TIMEOUT_MS: "1000" };
  const second = await SchedulerProcess.start(t, { natsUrl: server.url, env, standby: true });
  const worker = await startWorker();
  const job = await first.submit(echo());
  await eventually(() => worker.grants.length === 1);
  await eventually(
    async () => {
      const refusal = await second
        .get(job.jobId)
        .catch((error: { metadata: object; reason: string }) => error);
      assert.ok("reason" in refusal);
      assert.deepEqual([refusal.reason, refusal.metadata], ["NOT_LEADING", { leader: first.address }]);
      return true;
    },
    { what: "the standby names the leader" },
  );
  first.signal("SIGSTOP");
  const stoppedAtMs = performance.now();
  await second.leads();
  const tookMs = performance.now() - stoppedAtMs;
  assert.ok(tookMs < 6_000, `took over after ${Math.round(tookMs)} ms`);
  const lease = worker.grants[0]?.lease ?? 0n;
  await worker.report(lease, completed());
  await second.reaches(job.jobId, COMPLETED);
  // These wait in its socket: it meets them before it can hear from anybody that it has been replaced.
  const stale = [first.get(job.jobId), first.get(job.jobId)].map((call) =>
    call.then(
      ({ status }) => status,
      ({ code }) => code,
    ),
  );
  await sleep(100);
  first.signal("SIGCONT");
  // Its state is of the past, and so is its right to say anything.
  assert.deepEqual(await Promise.all(stale), ["UNAVAILABLE", "UNAVAILABLE"]);
  await assert.rejects(first.submit(echo()), { code: "UNAVAILABLE" });
  assert.equal(worker.assigned.filter((each) => each === lease).length, 1);
  // Killed, the leader is followed by the one that stood by.
  const kept = await second.submit(echo());
  const killedAtMs = performance.now();
  await second.kill();
  await first.leads();
  assert.ok(performance.now() - killedAtMs < 6_000);
  const status = (await first.get(kept.jobId)).status;
  assert.ok(status === PENDING || status === RUNNING);
});

test("a stop is quick and hands over at once; a journal of a newer release is not touched", async (test) => {
  const { server, scheduler, nats } = await setUp(test);
  const job = await scheduler.submit(echo());
  const askedAtMs = performance.now();
  await scheduler.kill("SIGTERM");
  assert.ok(performance.now() - askedAtMs < 2_000, "an idle stop takes at most 2 s");
  await scheduler.start();
  await scheduler.leads(2_000);
  assert.equal((await scheduler.get(job.jobId)).status, PENDING);
  await server.kill();
  const downAtMs = performance.now();
  await scheduler.kill("SIGTERM");
  assert.ok(performance.now() - downAtMs < 3_000, "nor does it wait for a NATS that is away");
  await server.restart();
  const newer = JournalBatch.encode(JournalBatch.fromPartial({ version: 99 })).finish();
  await eventually(() => nats.append(Subject.journal, newer, { timeoutMs: 1_000 }));
  const before = (await journalOf(nats)).batches.length;
  await scheduler.start();
  await eventually(
    () => scheduler.logged("the journal has version 99, this scheduler knows 1: it never leads").length > 0,
  );
  await assert.rejects(scheduler.submit(echo()), { reason: "NOT_LEADING" });
  assert.equal((await journalOf(nats)).batches.length, before);
});
