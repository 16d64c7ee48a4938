import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../support/eventually.ts";
import { startHarness } from "./harness.ts";

const ms = (value: number) => ({ seconds: BigInt(Math.floor(value / 1000)), nanos: (value % 1000) * 1e6 });

test("an assigned echo job completes with its message", async (t) => {
  const { scheduler, worker } = await startHarness(t);
  const grant = scheduler.grant({ echo: { message: "grüße" } });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(outcome.$case === "completed");
  assert.ok(outcome.value.result?.result?.$case === "echo");
  assert.equal(outcome.value.result.result.value.message, "grüße");
  const [heartbeat] = scheduler.heartbeats;
  assert.deepEqual(heartbeat?.types, ["echo"]);
  assert.equal(heartbeat?.workerId, worker.workerId);
  assert.equal(heartbeat?.slots, 4);
  await eventually(() => worker.unready() === undefined);
  await scheduler.forgotten(grant.lease);
});

test("thousands of jobs at once: one outcome each, in few messages", async (t) => {
  const { scheduler } = await startHarness(t);
  const grants = Array.from({ length: 5_000 }, () => scheduler.grant());
  for (let start = 0; start < grants.length; start += 500) {
    await scheduler.assign(grants.slice(start, start + 500));
  }
  await eventually(() => scheduler.outcomes.length >= grants.length, { what: "all outcomes" });
  assert.equal(new Set(scheduler.outcomes.map(({ lease }) => lease)).size, grants.length);
  assert.ok(scheduler.batches.length < grants.length / 20, `${scheduler.batches.length} messages`);
  // More than 2,000 ended leases are announced at once, not at the next second.
  const all = grants.map(({ lease }) => lease);
  await scheduler.forgotten(...all.slice(0, 10), ...all.slice(-10));
});

test("a failing job fails with its code", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { failTimes: 1 } });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(outcome.$case === "failed");
  assert.deepEqual([outcome.value.error?.code, outcome.value.error?.retryable], ["ECHO_FAILED", true]);
});

test("progress arrives while a job runs, at most 10 reports a second", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(1_000), steps: 200 } });
  await scheduler.assign([grant]);
  await scheduler.outcomeOf(grant.lease);
  const reports = scheduler.progress.filter(({ lease }) => lease === grant.lease);
  assert.ok(reports.length >= 4 && reports.length <= 12, `${reports.length} reports`);
  const steps = reports.map(({ progress }) => Number(progress?.current));
  assert.deepEqual(
    steps,
    steps.toSorted((a, b) => a - b),
  );
  assert.equal(reports[0]?.progress?.total, 200n);
});

test("cancel stops a running job at once", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(60_000), steps: 600 } });
  await scheduler.assign([grant]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  const askedAtMs = performance.now();
  await scheduler.cancel([grant.lease]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(performance.now() - askedAtMs < 250);
  assert.ok(outcome.$case === "cancelled");
  assert.ok(Number(outcome.value.progress?.current) >= 1);
});

test("a job above its execution timeout fails as timed out", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(60_000) }, executionTimeout: ms(200) });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(outcome.$case === "failed");
  assert.equal(outcome.value.timedOut, true);
  assert.equal(outcome.value.error?.code, "DEADLINE_EXCEEDED");
});

test("a lease sent again is not run again, running or ended", async (t) => {
  const { scheduler } = await startHarness(t);
  const slow = scheduler.grant({ echo: { sleep: ms(500) } });
  const quick = scheduler.grant();
  await scheduler.assign([slow, quick, slow, quick]);
  await scheduler.outcomeOf(quick.lease);
  await scheduler.assign([slow, quick]);
  await scheduler.outcomeOf(slow.lease);
  await scheduler.forgotten(slow.lease, quick.lease);
  const probe = scheduler.grant();
  await scheduler.assign([slow, quick, probe]);
  await scheduler.outcomeOf(probe.lease);
  assert.equal(scheduler.outcomes.length, 3);
});

test("a scheduler of a lower epoch is ignored", async (t) => {
  const { scheduler } = await startHarness(t);
  scheduler.epoch = 7n;
  const running = scheduler.grant({ echo: { sleep: ms(700) } });
  await scheduler.assign([running]);
  const stale = scheduler.grant();
  await scheduler.assign([stale], 6n);
  await scheduler.cancel([running.lease], 6n);
  const fresh = scheduler.grant();
  await scheduler.assign([fresh], 7n);
  await scheduler.outcomeOf(fresh.lease);
  const outcome = await scheduler.outcomeOf(running.lease);
  assert.equal(outcome.$case, "completed");
  assert.deepEqual(scheduler.outcomesOf(stale.lease), []);
});

test("a lease that the scheduler disowns is stopped and says nothing", async (t) => {
  const { scheduler } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(60_000), steps: 600 } });
  await scheduler.assign([grant]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  scheduler.disowned.add(grant.lease);
  await scheduler.forgotten(grant.lease);
  const probe = scheduler.grant();
  await scheduler.assign([probe]);
  await scheduler.outcomeOf(probe.lease);
  assert.deepEqual(scheduler.outcomesOf(grant.lease), []);
});
