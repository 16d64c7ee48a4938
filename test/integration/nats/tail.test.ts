import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import { eventually } from "../../support/eventually.ts";
import { startTestNats } from "../../support/nats.ts";
import { reversed } from "../../support/reversed.ts";

const BYTES = 32 * 1024 * 1024;

async function connected(t: Parameters<typeof reversed>[0]) {
  const server = await startTestNats(t);
  const nats = new Nats({ url: server.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await ensureStreams(nats, { journalMaxBytes: BYTES, objectsMaxBytes: BYTES, replicas: 1 });
  return { server, nats };
}

test("a tail delivers at once after an outage that outlasted its requests", async (test) => {
  const { server, nats } = await connected(reversed(test));
  const seen: number[] = [];
  const tail = nats.tail({
    stream: Stream.outcomes,
    fromSequence: 1,
    onMessage: ({ sequence }) => seen.push(sequence),
  });
  await tail.start();
  await nats.append(Subject.outcomes, Buffer.from("1"), { timeoutMs: 5_000 });
  await eventually(() => seen.length === 1);
  await server.kill();
  // Long enough that the tail has noticed the silence and asks for a new consumer in vain.
  await sleep(5_000);
  let reconnectedAt = 0;
  nats.onReconnect(() => {
    reconnectedAt = performance.now();
  });
  await server.restart();
  await eventually(() => reconnectedAt > 0);
  await eventually(() => nats.append(Subject.outcomes, Buffer.from("2"), { timeoutMs: 1_000 }));
  await eventually(() => seen.length === 2, { intervalMs: 5 });
  const tookMs = performance.now() - reconnectedAt;
  assert.ok(tookMs < 1_500, `delivered ${Math.round(tookMs)} ms after the reconnect`);
  assert.deepEqual(seen, [1, 2]);
  await tail.stop();
});

test("a process ends at once after its connection was stopped", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const script = new URL("./connect-and-stop.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, ["--import", "tsx", script, server.url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => void child.kill("SIGKILL"));
  let stoppedAtMs = 0;
  child.stdout.once("data", () => {
    stoppedAtMs = performance.now();
  });
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
  assert.ok(stoppedAtMs > 0);
  assert.ok(performance.now() - stoppedAtMs < 600, "a timer held the process up");
});
