import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { connect as connectNats } from "nats";
import { type System, type SystemOptions, startSystem } from "../../cli/supervisor.ts";
import { freePort } from "../../platform/free-port.ts";
import { identify, parseIdentity } from "../../platform/pid-lock.ts";
import { eventually } from "../support/eventually.ts";
import { fakeServices } from "../support/fake-services.ts";
import { startTestNats } from "../support/nats.ts";
import { tempDir } from "../support/temp.ts";

const NAMES = ["nats", "index", "scheduler", "worker", "gateway"];
const PORTS = fakeServices().flatMap(({ ports }) => ports.map(({ setting }) => setting));

/** The environment of a user without settings of their own, on free ports. */
function cleanEnv(dataDir: string): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(ARRW_|NATS_URL$|NODE_TEST)/.test(name));
  const free = ["ARRW_NATS_PORT", ...PORTS].map((setting) => [setting, "0"] as const);
  return { ...Object.fromEntries(kept), ...Object.fromEntries(free), ARRW_DATA_DIR: dataDir };
}

async function start(t: TestContext, dataDir: string, options: SystemOptions = {}): Promise<System> {
  const system = await startSystem({ env: cleanEnv(dataDir), services: fakeServices(), ...options });
  t.after(() => system.stop());
  return system;
}

const events = (dataDir: string): string[] =>
  readFileSync(join(dataDir, "events.txt"), "utf8").trim().split("\n");

async function ask(address: string): Promise<string> {
  const [host = "", port] = address.split(":");
  return text(connect({ host, port: Number(port) }));
}

const addressOf = (system: System, setting: string): string =>
  system.addresses.find((each) => each.setting === setting)?.address ?? "";

test("all start on the ports given, know each other, and stop in order", async (t) => {
  const dataDir = await tempDir(t);
  const system = await start(t, dataDir);
  assert.deepEqual(system.names, NAMES);
  const pids = NAMES.map((name) => system.pid(name));
  for (const pid of pids) assert.ok(identify(pid ?? 0));
  const [index, scheduler] = [
    addressOf(system, "ARRW_INDEX_GRPC_PORT"),
    addressOf(system, "ARRW_SCHEDULER_GRPC_PORT"),
  ];
  assert.equal(await ask(system.address), `gateway ${system.natsUrl} ${index} ${scheduler}`);
  await system.stop();
  const stops = events(dataDir).filter((line) => line.endsWith(" stopped"));
  assert.deepEqual(stops, ["gateway stopped", "worker stopped", "scheduler stopped", "index stopped"]);
  for (const pid of pids) assert.equal(identify(pid ?? 0), undefined);
  assert.ok(!existsSync(join(dataDir, "arrw.lock")));
});

test("each process that is killed comes back on its port, nats-server with its data", async (t) => {
  const system = await start(t, await tempDir(t));
  const connection = await connectNats({
    servers: system.natsUrl,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 50,
  });
  t.after(() => connection.close());
  const manager = await connection.jetstreamManager({ timeout: 300 });
  await manager.streams.add({ name: "S", subjects: ["s"] });
  await connection.jetstream().publish("s");
  const seen: string[] = [];
  system.events.on("exit", (name, exit) => seen.push(`${name} ${exit.signal}`));
  for (const name of NAMES) {
    const before = system.pid(name);
    const ready = once(system.events, "ready");
    assert.ok(system.kill(name, "SIGKILL"));
    await system.ready(name);
    assert.notEqual(system.pid(name), before);
    assert.deepEqual(await ready, [name, system.pid(name)]);
  }
  assert.deepEqual(
    seen,
    NAMES.map((name) => `${name} SIGKILL`),
  );
  assert.match(await ask(system.address), /^gateway /);
  const info = await eventually(() => manager.streams.info("S"));
  assert.equal(info.state.messages, 1);
  assert.ok(
    system.logs.some((line) => /warn {2}worker ended \(SIGKILL\); starting it again in 200 ms/.test(line)),
  );
});

test("a second start finds the data of the first", async (t) => {
  const dataDir = await tempDir(t);
  const streams = async (system: System, add: boolean): Promise<number> => {
    const connection = await connectNats({ servers: system.natsUrl });
    const manager = await connection.jetstreamManager();
    if (add) await manager.streams.add({ name: "S", subjects: ["s"] });
    const names = await manager.streams.names().next();
    await connection.close();
    return names.length;
  };
  const first = await start(t, dataDir);
  assert.equal(await streams(first, true), 1);
  await first.stop();
  assert.equal(await streams(await start(t, dataDir), false), 1);
});

test("temporary: the data folder goes with it", async (t) => {
  const system = await start(t, "unused", { temporary: true });
  assert.ok(existsSync(join(system.dataDir, "nats")));
  await system.stop();
  assert.ok(!existsSync(system.dataDir));
  assert.ok(!existsSync("unused"));
});

test("a NATS server that is given is used, and left running", async (t) => {
  const nats = await startTestNats(t);
  const dataDir = await tempDir(t);
  const system = await start(t, dataDir, { env: { ...cleanEnv(dataDir), NATS_URL: nats.url } });
  assert.deepEqual(system.names, NAMES.slice(1));
  assert.match(await ask(system.address), new RegExp(`^gateway ${nats.url} `));
  await system.stop();
  assert.ok(identify(nats.pid));
});

test("what can't be had is named in one line, and nothing stays behind", async (t) => {
  const dataDir = await tempDir(t);
  const taken = createServer().listen(await freePort(), "127.0.0.1");
  await once(taken, "listening");
  t.after(() => void taken.close());
  const port = (taken.address() as { port: number }).port;
  const file = join(dataDir, "file");
  await writeFile(file, "");
  const closed = await freePort();
  const cases: readonly (readonly [NodeJS.ProcessEnv, RegExp])[] = [
    [
      { ARRW_GATEWAY_HTTP_PORT: String(port) },
      new RegExp(`^port 127.0.0.1:${port} of gateway is in use; set ARRW_GATEWAY_HTTP_PORT to another one$`),
    ],
    [
      { ARRW_NATS_PORT: String(port) },
      new RegExp(`^port 127.0.0.1:${port} of nats-server is in use; set ARRW_NATS_PORT to another one$`),
    ],
    [
      { ARRW_INDEX_GRPC_PORT: String(closed), ARRW_WORKER_HTTP_PORT: String(closed) },
      new RegExp(`^ARRW_WORKER_HTTP_PORT \\(worker\\) and ARRW_INDEX_GRPC_PORT are both ${closed}$`),
    ],
    [
      { ARRW_DATA_DIR: file },
      /^data folder .*file can't be written \(it is not a folder\); set ARRW_DATA_DIR/,
    ],
    [
      { ARRW_NATS_URL: `nats://127.0.0.1:${closed}` },
      /^no NATS server answers at 127\.0\.0\.1:\d+ \(ARRW_NATS_URL\)$/,
    ],
    [{ NATS_SERVER_BIN: join(dataDir, "none") }, /^NATS_SERVER_BIN=.*none: no such file\. Install one/],
    [{ ARRW_WORKER_SLOTS: "many" }, /^ARRW_WORKER_SLOTS: .*got "many"/],
  ];
  for (const [env, message] of cases) {
    await assert.rejects(
      startSystem({ env: { ...cleanEnv(dataDir), ...env }, services: fakeServices() }),
      (error: Error) => {
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      },
    );
    assert.ok(!existsSync(join(dataDir, "arrw.lock")), "no lock stays");
  }
});

test("a service that doesn't start: its reason, and the others are stopped", async (t) => {
  const dataDir = await tempDir(t);
  const services = fakeServices().map((service) =>
    service.name === "worker"
      ? { ...service, main: new URL("../support/fakes/broken.ts", import.meta.url) }
      : service,
  );
  await assert.rejects(startSystem({ env: cleanEnv(dataDir), services }), {
    message: "worker: model could not start: no model here",
  });
  const pids = events(dataDir).flatMap((line) => / started (\d+)$/.exec(line)?.[1] ?? []);
  for (const pid of pids) assert.equal(identify(Number(pid)), undefined);
});

test("a data folder has one system; the lock of a dead one is taken over", async (t) => {
  const dataDir = await tempDir(t);
  await mkdir(dataDir, { recursive: true });
  await writeFile(join(dataDir, "arrw.lock"), JSON.stringify({ pid: process.pid, started: "1" }));
  const system = await start(t, dataDir);
  await assert.rejects(start(t, dataDir), {
    reason: "DATA_DIR_IN_USE",
    message: `data folder ${dataDir} is in use by another arrw up (process ${process.pid})`,
  });
  for (const name of NAMES) assert.ok(identify(system.pid(name) ?? 0), `${name} still runs`);
});

interface Up {
  readonly process: ChildProcess;
  readonly output: () => string;
  /** Of all processes under it. */
  readonly pids: number[];
}

/** `arrw up` as a process, with stand-ins for the services. */
async function up(t: TestContext, dataDir: string, env: NodeJS.ProcessEnv = {}): Promise<Up> {
  const main = fileURLToPath(new URL("../support/fakes/up.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", main], {
    env: { ...cleanEnv(dataDir), ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += String(chunk)));
  await eventually(() => output.includes("ready in"), { timeoutMs: 30_000, what: "the banner" });
  const services = events(dataDir).flatMap((line) => / started (\d+)$/.exec(line)?.[1] ?? []);
  const nats = parseIdentity(readFileSync(join(dataDir, "nats", "nats-server.pid"), "utf8"));
  const pids = [...services.map(Number).slice(-4), nats?.pid ?? 0];
  for (const pid of pids) assert.ok(identify(pid), `${pid} runs`);
  return { process: child, output: () => output, pids };
}

const allGone = (pids: readonly number[]): boolean => pids.every((pid) => identify(pid) === undefined);

test("arrw up: a banner with every port; Ctrl-C stops all in order", async (t) => {
  const dataDir = await tempDir(t);
  const { process: child, output, pids } = await up(t, dataDir);
  assert.match(output(), /gateway {4}127\.0\.0\.1:\d+ {2}gRPC, public API/);
  assert.match(output(), /npx arrw library create/);
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "exit"), [0, null]);
  assert.ok(allGone(pids));
  const stops = events(dataDir).filter((line) => line.endsWith(" stopped"));
  assert.deepEqual(stops, ["gateway stopped", "worker stopped", "scheduler stopped", "index stopped"]);
});

test("arrw up: a second Ctrl-C forces", async (t) => {
  const dataDir = await tempDir(t);
  const { process: child, pids } = await up(t, dataDir, { FAKE_HANG: "worker" });
  child.kill("SIGINT");
  await eventually(() => events(dataDir).includes("worker hangs"));
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "exit"), [130, null]);
  await eventually(() => allGone(pids), { what: "the end of all processes" });
});

test("arrw up: killed with SIGKILL it leaves no process, and the next start takes over", async (t) => {
  const dataDir = await tempDir(t);
  const first = await up(t, dataDir);
  first.process.kill("SIGKILL");
  await once(first.process, "exit");
  await eventually(() => allGone(first.pids), { what: "the end of all processes" });
  const second = await up(t, dataDir);
  second.process.kill("SIGTERM");
  assert.deepEqual(await once(second.process, "exit"), [0, null]);
  assert.ok(allGone(second.pids));
});

test("arrw up: what is wrong is one line, exit code 1", async (t) => {
  const dataDir = await tempDir(t);
  const child = spawn(
    process.execPath,
    [fileURLToPath(new URL("../../cli/arrw.js", import.meta.url)), "up"],
    {
      env: { ...cleanEnv(dataDir), ARRW_GATWAY_GRPC_PORT: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "exit"),
  ]);
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.equal(
    stderr,
    "error: ARRW_GATWAY_GRPC_PORT: no such setting; did you mean ARRW_GATEWAY_GRPC_PORT?\n",
  );
});
