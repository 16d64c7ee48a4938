import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../support/eventually.ts";
import { startHarness } from "./harness.ts";

test("an assigned echo job completes with its message", async (t) => {
  const { scheduler, worker } = await startHarness(t);
  const grant = scheduler.grant({ echo: { message: "grüße" } });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(outcome.$case === "completed");
  assert.deepEqual(outcome.value.result?.result, {
    $case: "echo",
    value: { message: "grüße", _unknownFields: {} },
  });
  const [heartbeat] = scheduler.heartbeats;
  assert.deepEqual(heartbeat?.types, ["echo"]);
  assert.equal(heartbeat?.workerId, worker.workerId);
  assert.equal(heartbeat?.slots, 4);
  await eventually(() => worker.unready() === undefined);
  await eventually(() => scheduler.heartbeats.at(-1)?.held.length === 0, { what: "the lease is forgotten" });
});
