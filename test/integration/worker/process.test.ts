import assert from "node:assert/strict";
import { test } from "node:test";
import { freePort } from "../../../platform/free-port.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestNats } from "../../support/nats.ts";
import { FakeScheduler } from "./fake-scheduler.ts";
import { reversed } from "./harness.ts";
import { start, startWorkerProcess } from "./worker-process.ts";

test("the process says when it is ready, shows its metrics and stops within 2 s", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const scheduler = await FakeScheduler.start(t, server.url);
  const { child, exited, httpPort } = await startWorkerProcess(t, server.url);
  const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${httpPort}${path}`);
  await eventually(async () => (await get("/readyz")).status === 200, { what: "readyz" });
  const grant = scheduler.grant();
  await scheduler.assign([grant]);
  await scheduler.outcomeOf(grant.lease);
  const metrics = await (await get("/metrics")).text();
  assert.match(metrics, /arrw_worker_attempts_finished_total\{[^}]*type="echo",outcome="completed"[^}]*\} 1/);
  assert.match(metrics, /arrw_worker_slots\{[^}]*\} 4/);
  const askedAtMs = performance.now();
  child.kill("SIGTERM");
  assert.equal(await exited, 0);
  assert.ok(performance.now() - askedAtMs < 2_000);
});

test("a worker without NATS waits for it, is not ready, and can be stopped", async (test) => {
  const t = reversed(test);
  const { child, exited, httpPort } = await startWorkerProcess(t, `nats://127.0.0.1:${await freePort()}`);
  const reasons = await eventually(async () => {
    const response = await fetch(`http://127.0.0.1:${httpPort}/readyz`);
    return response.status === 503 ? response.text() : undefined;
  });
  assert.match(reasons, /nats: not connected to NATS/);
  assert.match(reasons, /scheduler: the scheduler has not answered yet/);
  child.kill("SIGTERM");
  assert.equal(await exited, 0);
});

test("a process whose main loop stands still is killed", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const { exited, output } = start(t, "./stalled-process.ts", [server.url]);
  assert.equal(await exited, "SIGKILL");
  assert.match(output(), /stalls/);
  assert.match(output(), /the main loop has stood still for 2 s/);
});
