import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../support/eventually.ts";
import { startHarness } from "./harness.ts";

const ms = (value: number) => ({ seconds: BigInt(Math.floor(value / 1000)), nanos: (value % 1000) * 1e6 });

test("outcomes of jobs that end while NATS is away are stored when it is back", async (t) => {
  const { scheduler, server } = await startHarness(t);
  const grants = [200, 300, 400].map((sleep) => scheduler.grant({ echo: { sleep: ms(sleep), steps: 4 } }));
  await scheduler.assign(grants);
  await eventually(() => scheduler.progress.length > 0, { what: "the jobs run" });
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await server.restart();
  for (const { lease } of grants) {
    const outcome = await scheduler.outcomeOf(lease, 15_000);
    assert.equal(outcome.$case, "completed");
  }
  await scheduler.forgotten(...grants.map(({ lease }) => lease));
  for (const { lease } of grants) {
    const kinds = new Set(scheduler.outcomesOf(lease).map(({ outcome }) => outcome?.$case));
    assert.deepEqual([...kinds], ["completed"]);
  }
});

test("a job keeps running through a NATS outage below 4 s", async (t) => {
  const { scheduler, server } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(3_500), steps: 35 } });
  await scheduler.assign([grant]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  await server.restart();
  const outcome = await scheduler.outcomeOf(grant.lease, 15_000);
  assert.equal(outcome.$case, "completed");
});

test("cut off for 4 s a worker stops its jobs, and gives them back when NATS is there again", async (t) => {
  const { scheduler, server } = await startHarness(t);
  const grant = scheduler.grant({ echo: { sleep: ms(60_000), steps: 600 } });
  await scheduler.assign([grant]);
  await eventually(() => scheduler.progress.length > 0, { what: "the job runs" });
  await server.kill();
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  await server.restart();
  const outcome = await scheduler.outcomeOf(grant.lease, 15_000);
  assert.equal(outcome.$case, "released");
  const probe = scheduler.grant();
  await eventually(async () => {
    await scheduler.assign([probe]);
    return scheduler.outcomesOf(probe.lease).length > 0;
  });
});

test("a scheduler that doesn't answer stops nothing", async (t) => {
  const { scheduler, worker } = await startHarness(t);
  await eventually(() => worker.unready() === undefined);
  scheduler.answers = false;
  const grant = scheduler.grant({ echo: { sleep: ms(5_500), steps: 11 } });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease, 15_000);
  assert.equal(outcome.$case, "completed");
});
