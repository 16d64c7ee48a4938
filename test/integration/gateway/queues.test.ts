import assert from "node:assert/strict";
import { test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { unary } from "../../../platform/grpc/client.ts";
import { QueueServiceClient, Worker } from "../../../proto/gen/arrwdb/v1/queues.ts";
import { HealthClient } from "../../../proto/gen/health/v1/health.ts";
import { startTestGateway } from "../../support/gateway.ts";
import type { Cleanup } from "../../support/temp.ts";

const CALL = { timeoutMs: 5_000 };

async function start(t: Cleanup) {
  const gateway = await startTestGateway(t);
  const queues = new QueueServiceClient(gateway.address, credentials.createInsecure());
  t.after(() => queues.close());
  return { ...gateway, queues };
}

test("pauses and limits change only what they are about", async (t) => {
  const { queues, scheduler } = await start(t);
  const { queue } = await unary(queues, queues.pauseQueue, { type: "echo" }, CALL);
  assert.deepEqual([queue?.type, queue?.paused], ["echo", true]);
  await unary(queues, queues.resumeQueue, { type: "" }, CALL);
  const limited = await unary(queues, queues.setQueueLimit, { type: "echo", maxRunning: 3 }, CALL);
  assert.equal(limited.queue?.maxRunning, 3);
  await unary(queues, queues.setQueueLimit, { type: "echo", maxRunning: 0 }, CALL);
  assert.deepEqual(
    scheduler.queueChanges.map(({ type, paused, maxRunning }) => [type, paused, maxRunning]),
    [
      ["echo", true, undefined],
      ["", false, undefined],
      ["echo", undefined, 3],
      ["echo", undefined, 0],
    ],
  );
});

test("types and limits are checked, all at once", async (t) => {
  const { queues, scheduler } = await start(t);
  const cases: [() => Promise<unknown>, string[]][] = [
    [() => unary(queues, queues.pauseQueue, { type: "ekko" }, CALL), ["type"]],
    [() => unary(queues, queues.resumeQueue, { type: "ekko" }, CALL), ["type"]],
    [() => unary(queues, queues.setQueueLimit, { type: "", maxRunning: -1 }, CALL), ["type", "max_running"]],
  ];
  for (const [call, fields] of cases) {
    await assert.rejects(call(), (error: { code: string; violations: { field: string }[] }) => {
      assert.equal(error.code, "INVALID_ARGUMENT");
      assert.deepEqual(
        error.violations.map(({ field }) => field),
        fields,
      );
      return true;
    });
  }
  assert.equal(scheduler.queueChanges.length, 0);
});

test("workers are listed and drained; one that isn't there is NOT_FOUND", async (t) => {
  const { queues, scheduler } = await start(t);
  const leases = [{ lease: 7n, jobId: "j" }];
  scheduler.workers = [Worker.fromPartial({ workerId: "w1", host: "h", slots: 4, types: ["echo"], leases })];
  const { workers } = await unary(queues, queues.listWorkers, {}, CALL);
  assert.deepEqual(
    workers.map((each) => [each.workerId, each.host, each.slots, each.types, each.leases[0]?.lease]),
    [["w1", "h", 4, ["echo"], 7n]],
  );
  const { worker } = await unary(queues, queues.drainWorker, { workerId: "w1" }, CALL);
  assert.equal(worker?.draining, true);
  for (const workerId of ["w2", "", "a b"]) {
    const drain = unary(queues, queues.drainWorker, { workerId }, CALL);
    await assert.rejects(drain, { code: "NOT_FOUND", reason: "WORKER_NOT_FOUND" });
  }
});

test("the service has a health of its own", async (t) => {
  const { address } = await start(t);
  const health = new HealthClient(address, credentials.createInsecure());
  t.after(() => health.close());
  const { status } = await unary(health, health.check, { service: "arrwdb.v1.QueueService" }, CALL);
  assert.equal(status, 1);
});
