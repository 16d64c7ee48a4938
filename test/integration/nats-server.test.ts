import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { connect } from "nats";
import { freePort } from "../../platform/free-port.ts";
import { findNatsServer, type NatsServerProcess, startNatsServer } from "../../platform/nats/launcher.ts";
import { identify } from "../../platform/pid-lock.ts";
import { eventually } from "../support/eventually.ts";
import { startTestNats } from "../support/nats.ts";
import { tempDir } from "../support/temp.ts";

async function start(t: TestContext, storeDir: string, port = 0): Promise<NatsServerProcess> {
  const { path: binary } = await findNatsServer();
  const server = await startNatsServer({ binary, storeDir, port });
  t.after(() => server.stop());
  return server;
}

test("JetStream works as soon as it is started, and keeps its data and port over kill and restart", async (t) => {
  const server = await startTestNats(t, { syncAlways: true });
  const connection = await connect({ servers: server.url, maxReconnectAttempts: -1, reconnectTimeWait: 50 });
  t.after(() => connection.close());
  const manager = await connection.jetstreamManager({ timeout: 300 });
  await manager.streams.add({ name: "S", subjects: ["s"] });
  await connection.jetstream().publish("s", new TextEncoder().encode("kept"));

  const before = server.pid;
  await server.kill("SIGKILL");
  assert.equal(identify(before), undefined);
  await server.restart();
  assert.notEqual(server.pid, before);
  const message = await eventually(() => manager.streams.getMessage("S", { seq: 1 }));
  assert.equal(new TextDecoder().decode(message.data), "kept");
});

test("a port in use is named", async (t) => {
  const taken = createServer();
  const port = await freePort();
  taken.listen(port, "127.0.0.1");
  await once(taken, "listening");
  t.after(() => void taken.close());
  const storeDir = await tempDir(t);
  await assert.rejects(start(t, storeDir, port), {
    reason: "PORT_IN_USE",
    message: `NATS port 127.0.0.1:${port} is in use`,
  });
  // The failed start left no lock.
  await start(t, storeDir);
});

test("a store that can't be written is named", async (t) => {
  const file = join(await tempDir(t), "file");
  await writeFile(file, "");
  await assert.rejects(start(t, join(file, "store")), {
    reason: "STORE_UNWRITABLE",
    message: /NATS store .*file\/store can't be written/,
  });
});

test("a store serves one server at a time, and the next one after its end", async (t) => {
  const storeDir = await tempDir(t);
  const first = await start(t, storeDir);
  await assert.rejects(start(t, storeDir), { reason: "STORE_IN_USE", message: /is in use by process \d+/ });
  await first.stop();
  const second = await start(t, storeDir);
  assert.notEqual(second.pid, first.pid);
});

test("the server ends when its launcher is killed", async (t) => {
  const storeDir = await tempDir(t);
  const launcher = new URL("../../platform/nats/launcher.ts", import.meta.url).href;
  const script = `
    const { findNatsServer, startNatsServer } = await import(${JSON.stringify(launcher)});
    const { path: binary } = await findNatsServer();
    const server = await startNatsServer({ binary, storeDir: ${JSON.stringify(storeDir)} });
    console.log(server.pid);`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => void child.kill("SIGKILL"));
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  assert.ok(identify(pid), "the server runs");
  child.kill("SIGKILL");
  await eventually(() => identify(pid) === undefined, { timeoutMs: 5_000, what: "the server's end" });
  await start(t, storeDir);
});

test("a server that outlived launcher and watcher is stopped before the store is opened again", async (t) => {
  const storeDir = await tempDir(t);
  const orphan = spawn("sleep", ["600"], { stdio: "ignore" });
  t.after(() => void orphan.kill("SIGKILL"));
  const exited = once(orphan, "exit");
  await writeFile(join(storeDir, "nats-server.pid"), JSON.stringify(identify(orphan.pid ?? 0)));
  await writeFile(join(storeDir, "launcher.lock"), JSON.stringify({ pid: 2 ** 22 + 1, started: "1" }));
  await start(t, storeDir);
  assert.deepEqual(await exited, [null, "SIGTERM"]);
});

test("another process with the pid of a server that is gone is left alone", async (t) => {
  const storeDir = await tempDir(t);
  const stranger = spawn("sleep", ["600"], { stdio: "ignore" });
  t.after(() => void stranger.kill("SIGKILL"));
  await writeFile(join(storeDir, "nats-server.pid"), JSON.stringify({ pid: stranger.pid, started: "1" }));
  await start(t, storeDir);
  assert.ok(identify(stranger.pid ?? 0), "it still runs");
});
