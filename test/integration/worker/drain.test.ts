import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../support/eventually.ts";
import { startHarness } from "./harness.ts";

const seconds = (value: bigint) => ({ seconds: value, nanos: 0 });

test("an idle worker stops within 2 s and says so", async (t) => {
  const { scheduler, worker } = await startHarness(t);
  const startedAtMs = performance.now();
  await worker.stop();
  assert.ok(performance.now() - startedAtMs < 2_000);
  assert.equal(scheduler.heartbeats.at(-1)?.draining, true);
  assert.deepEqual(scheduler.heartbeats.at(-1)?.held, []);
});

test("a drain lets jobs finish within its time", async (t) => {
  const { scheduler, worker } = await startHarness(t, { drainTimeoutMs: 5_000 });
  const grant = scheduler.grant({ echo: { sleep: seconds(1n), steps: 10 } });
  await scheduler.assign([grant]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  const stopped = worker.stop();
  await eventually(() => scheduler.heartbeats.at(-1)?.draining, { what: "the drain is announced" });
  await stopped;
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.equal(outcome.$case, "completed");
});

test("a drain gives back what doesn't finish, and what comes too late", async (t) => {
  const { scheduler, worker } = await startHarness(t, { drainTimeoutMs: 300 });
  const slow = scheduler.grant({ echo: { sleep: seconds(60n), steps: 600 } });
  await scheduler.assign([slow]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  const stopped = worker.stop();
  const late = scheduler.grant();
  await scheduler.assign([late]);
  await stopped;
  for (const { lease } of [slow, late]) {
    const outcome = await scheduler.outcomeOf(lease);
    assert.equal(outcome.$case, "released");
  }
});

test("drained by an operator: no new leases, those it has go on, and it stays", async (t) => {
  const { scheduler } = await startHarness(t);
  const running = scheduler.grant({ echo: { sleep: { seconds: 2n, nanos: 0 }, steps: 20 } });
  await scheduler.assign([running]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  scheduler.drains = true;
  await eventually(() => scheduler.heartbeats.at(-1)?.draining, { what: "the drain is announced" });
  const late = scheduler.grant();
  await scheduler.assign([late]);
  assert.equal((await scheduler.outcomeOf(late.lease)).$case, "released");
  assert.equal((await scheduler.outcomeOf(running.lease)).$case, "completed");
  await scheduler.forgotten(running.lease);
  const heard = scheduler.heartbeats.length;
  scheduler.drains = false;
  await eventually(() => scheduler.heartbeats.length > heard + 1);
  assert.equal(scheduler.heartbeats.at(-1)?.draining, true);
});
