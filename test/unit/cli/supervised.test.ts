import assert from "node:assert/strict";
import { test } from "node:test";
import { type Exit, nextBackoff, type Running, Supervised } from "../../../cli/supervised.ts";

test("backoff doubles from 200 ms to 5 s and starts again after 30 s alive", () => {
  const delays: number[] = [];
  let previous: number | undefined;
  for (let i = 0; i < 7; i += 1) {
    previous = nextBackoff(previous, 1_000);
    delays.push(previous);
  }
  assert.deepEqual(delays, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
  assert.equal(nextBackoff(5_000, 29_999), 5_000);
  assert.equal(nextBackoff(5_000, 30_000), 200);
});

/** A process in memory that dies when told. */
class FakeProcess implements Running {
  readonly pid: number;
  readonly ready: Promise<void>;
  readonly exited: Promise<Exit>;
  readonly signals: NodeJS.Signals[] = [];
  #end: (exit: Exit) => void = () => undefined;

  constructor(pid: number, ready: Promise<void> = Promise.resolve()) {
    this.pid = pid;
    this.ready = ready;
    this.exited = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.signals.push(signal);
    this.#end({ code: null, signal });
  }

  die(code: number): void {
    this.#end({ code, signal: null });
  }
}

function supervise(launch: () => Promise<Running>) {
  const seen: string[] = [];
  const supervised = new Supervised({
    name: "thing",
    launch,
    stopTimeoutMs: 1_000,
    readyTimeoutMs: 1_000,
    onExit: (exit, delayMs) => seen.push(`exit ${exit.code} ${delayMs}`),
    onReady: (pid) => seen.push(`ready ${pid}`),
    onFailure: (error, delayMs) => seen.push(`failure ${(error as Error).message} ${delayMs}`),
  });
  return { supervised, seen };
}

/** Lets everything that only waits for promises happen. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("a process that ends is launched again, and who waits for it hears of it", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const launched: FakeProcess[] = [];
  const { supervised, seen } = supervise(async () => {
    const process = new FakeProcess(launched.length + 1);
    launched.push(process);
    return process;
  });
  await supervised.start();
  assert.equal(supervised.pid, 1);
  await supervised.ready();
  launched[0]?.die(3);
  await settle();
  assert.equal(supervised.pid, undefined);
  const again = supervised.ready();
  t.mock.timers.tick(199);
  await settle();
  assert.equal(launched.length, 1);
  t.mock.timers.tick(1);
  await again;
  await settle();
  assert.equal(supervised.pid, 2);
  assert.deepEqual(seen, ["exit 3 200", "ready 2"]);
  await supervised.stop();
  assert.deepEqual(launched[1]?.signals, ["SIGTERM"]);
});

test("after a SIGKILL it counts as not ready at once", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let launches = 0;
  const { supervised } = supervise(async () => {
    launches += 1;
    return new FakeProcess(launches);
  });
  await supervised.start();
  assert.ok(supervised.kill("SIGKILL"));
  const again = supervised.ready();
  await settle();
  t.mock.timers.tick(200);
  await again;
  assert.equal(supervised.pid, 2);
  await supervised.stop();
});

test("a restart that fails is tried again, later each time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  let launches = 0;
  const first = new FakeProcess(1);
  const { supervised, seen } = supervise(async () => {
    launches += 1;
    if (launches === 1) return first;
    if (launches === 2) throw new Error("no binary");
    if (launches === 3) return new FakeProcess(3, Promise.reject(new Error("port is in use")));
    return new FakeProcess(4);
  });
  await supervised.start();
  first.die(1);
  for (const delayMs of [200, 400, 800]) {
    await settle();
    t.mock.timers.tick(delayMs);
  }
  await settle();
  assert.deepEqual(seen, ["exit 1 200", "failure no binary 400", "failure port is in use 800", "ready 4"]);
  await supervised.stop();
});

test("a first start that fails is not tried again", async () => {
  let launches = 0;
  const { supervised, seen } = supervise(async () => {
    launches += 1;
    return new FakeProcess(1, Promise.reject(new Error("port is in use")));
  });
  await assert.rejects(supervised.start(), /port is in use/);
  assert.equal(launches, 1);
  assert.deepEqual(seen, []);
  await assert.rejects(supervised.ready(), /thing is stopped/);
});

test("a process that isn't ready in time is killed", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const slow = new FakeProcess(1, new Promise(() => undefined));
  const { supervised } = supervise(async () => slow);
  const start = assert.rejects(supervised.start(), /thing is not ready after 1 s/);
  await settle();
  t.mock.timers.tick(1_000);
  await start;
  assert.deepEqual(slow.signals, ["SIGKILL"]);
});

test("stop while it waits to be launched again: no launch any more", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const launched: FakeProcess[] = [];
  const { supervised } = supervise(async () => {
    const process = new FakeProcess(1);
    launched.push(process);
    return process;
  });
  await supervised.start();
  launched[0]?.die(1);
  await settle();
  const waiting = assert.rejects(supervised.ready(), /thing is stopped/);
  await supervised.stop();
  await waiting;
  t.mock.timers.tick(10_000);
  await settle();
  assert.equal(launched.length, 1);
});

test("stop during a launch ends what was launched", async () => {
  let launch: (process: Running) => void = () => undefined;
  const { supervised } = supervise(
    () =>
      new Promise((resolve) => {
        launch = resolve;
      }),
  );
  const start = assert.rejects(supervised.start(), /thing is stopped/);
  const stop = supervised.stop();
  const process = new FakeProcess(1);
  launch(process);
  await Promise.all([start, stop]);
  assert.deepEqual(process.signals, ["SIGTERM"]);
});
