import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { freePort } from "../../../platform/free-port.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";
import { FakeScheduler } from "./fake-scheduler.ts";
import { reversed } from "./harness.ts";

interface Process {
  readonly child: ChildProcess;
  readonly httpPort: number;
  output(): string;
  /** Exit code or signal. */
  readonly exited: Promise<number | string>;
}

function start(
  t: Cleanup,
  module: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Omit<Process, "httpPort"> {
  const path = new URL(module, import.meta.url).pathname;
  const child = spawn(process.execPath, ["--import", "tsx", path, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data) => (output += String(data)));
  // "close", not "exit": the output has been read to its end then.
  const exited = once(child, "close").then(([code, signal]) => (code ?? signal) as number | string);
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return { child, exited, output: () => output };
}

async function startWorkerProcess(t: Cleanup, natsUrl: string): Promise<Process> {
  const httpPort = await freePort();
  const env = { ARRW_NATS_URL: natsUrl, ARRW_WORKER_HTTP_PORT: String(httpPort) };
  return { ...start(t, "../../../services/worker/main.ts", [], env), httpPort };
}

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
