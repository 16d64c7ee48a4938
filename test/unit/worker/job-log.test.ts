import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { AppendError } from "../../../platform/nats/publisher.ts";
import { JobLogBatch } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BURST_LINES, LineRate } from "../../../services/worker/domain/line-rate.ts";
import { logLines, MAX_LINE_BYTES } from "../../../services/worker/domain/log-line.ts";
import type { JobLog } from "../../../services/worker/handler.ts";
import { JobLogs } from "../../../services/worker/job-logs.ts";
import { LeaseLog } from "../../../services/worker/lease-log.ts";
import { RecordedLines } from "./recorded-lines.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a line", () => {
  test("is the message, then its fields", () => {
    const fields = {
      n: 3,
      big: 12n,
      yes: true,
      none: null,
      left: undefined,
      word: "tea",
      text: 'say "tea"',
      err: new Error("no spoon"),
      at: new Date(0),
      list: [1, "a"],
      bytes: Buffer.alloc(3),
    };
    assert.deepEqual(logLines("made", fields), [
      'made n=3 big=12 yes=true none=null word=tea text="say \\"tea\\"" err="no spoon" ' +
        'at=1970-01-01T00:00:00.000Z list=[1,"a"] bytes=<3 bytes>',
    ]);
    assert.deepEqual(logLines("", { a: 1 }), ["a=1"]);
    assert.deepEqual(logLines("one\ntwo\r\n\nthree"), ["one", "two", "three"]);
    assert.deepEqual(logLines(""), []);
  });

  test("above 4 KiB is cut between characters, with a mark", () => {
    const exact = "x".repeat(MAX_LINE_BYTES);
    assert.deepEqual(logLines(exact), [exact]);
    for (const character of ["x", "ü", "語", "🍵"]) {
      const [line = "", ...more] = logLines(character.repeat(MAX_LINE_BYTES + 1));
      assert.equal(more.length, 0);
      assert.match(line, new RegExp(`^${character}+ \\.\\.\\. \\[cut\\]$`, "u"));
      const bytes = Buffer.byteLength(line);
      assert.ok(bytes <= MAX_LINE_BYTES && bytes > MAX_LINE_BYTES - 5, `${bytes} bytes`);
    }
    const [line = ""] = logLines("many", Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [n, n])));
    assert.ok(Buffer.byteLength(line) <= MAX_LINE_BYTES);
  });

  test("a pino logger will do where a handler is tested", () => {
    const log: JobLog = silentLog();
    log.info({ a: 1 }, "taken");
  });
});

test("a lease may log a burst, then 100 lines a second; a tenth is kept for warnings", () => {
  const rate = new LineRate(0);
  let taken = 0;
  while (rate.take(1, 50, false, 0)) taken += 1;
  assert.equal(taken, BURST_LINES * 0.9);
  while (rate.take(1, 50, true, 0)) taken += 1;
  assert.equal(taken, BURST_LINES);
  assert.equal(rate.take(1, 50, false, 500), false);
  assert.equal(rate.take(50, 50, true, 500), true);
  assert.equal(rate.take(1, 50, true, 500), false);
  const bytes = new LineRate(0);
  taken = 0;
  while (bytes.take(1, 4_096, true, 0)) taken += 1;
  assert.equal(taken, 64);
  assert.equal(bytes.take(1, 4_096, true, 250), true);
});

describe("a lease's lines", () => {
  const lease = { jobId: "job", lease: 7n, attempt: 2 };

  test("are put into batches of 100 lines or 32 KiB, numbered without a gap", () => {
    const outlet = new RecordedLines();
    const log = new LeaseLog(lease, outlet);
    for (let n = 1; n <= 250; n++) log.add("info", [`line ${n}`]);
    assert.deepEqual(
      outlet.batches.map(({ lines }) => lines.length),
      [100, 100],
    );
    log.seal();
    for (let n = 1; n <= 10; n++) log.add("warn", ["x".repeat(4_000)]);
    log.end();
    const shape = outlet.batches.map(({ firstLine, lines }) => [firstLine, lines.length]);
    assert.deepEqual(shape, [
      [1, 100],
      [101, 100],
      [201, 50],
      [251, 8],
      [259, 2],
    ]);
    assert.equal(outlet.lines[249], "info line 250");
    assert.equal(outlet.waitingBytes, 0);
    assert.equal(log.add("info", ["late"]), false);
  });

  test("above the rate are left out, and a line says how many", () => {
    const outlet = new RecordedLines();
    const log = new LeaseLog(lease, outlet);
    for (let n = 1; n <= 5_000; n++) log.add("info", [`line ${n}`]);
    log.add("error", ["the reason"]);
    log.add("error", ["attempt failed"], true);
    log.end();
    const { lines } = outlet;
    const notices = lines.flatMap((line) => /^warn (\d+) lines? left out/.exec(line)?.[1] ?? []);
    const left = notices.reduce((sum, count) => sum + Number(count), 0);
    assert.ok(left >= 3_500 && left <= 4_100, `${left} left out`);
    assert.ok(notices.length <= 2, `${notices.length} notices`);
    assert.ok(lines.includes("error the reason"));
    assert.equal(lines.at(-1), "error attempt failed");
    assert.equal(lines.length, 5_000 - left + notices.length + 2);
    assert.equal(outlet.dropped.length, left);
  });

  test("that wait for NATS are bounded: the oldest batches give way", () => {
    const outlet = new RecordedLines();
    outlet.holds = true;
    const log = new LeaseLog(lease, outlet);
    for (let n = 1; n <= 80; n++) log.add("error", ["x".repeat(4_000)], true);
    log.end();
    outlet.holds = false;
    outlet.onSealed(log);
    assert.ok(outlet.batches.reduce((sum, { lines }) => sum + lines.length, 0) <= 64);
    assert.equal(outlet.batches.at(-1)?.firstLine, 73);
    assert.equal(outlet.dropped[0], "8 buffer");
    assert.equal(outlet.waitingBytes, 0);
  });

  test("go one batch at a time, so that one sent again stays before the next; at the end all at once", () => {
    const outlet = new RecordedLines();
    outlet.holds = true;
    const log = new LeaseLog(lease, outlet);
    for (let n = 1; n <= 300; n++) log.add("info", ["x"]);
    const first = log.take() ?? assert.fail("no batch");
    assert.equal(log.take(), undefined);
    log.putBack(first);
    assert.equal(log.take()?.firstLine, 1);
    log.end();
    assert.deepEqual([log.take()?.firstLine, log.take()?.firstLine, log.take()], [101, 201, undefined]);
  });

  test("are lost, and counted, when there is no room at all", () => {
    const outlet = new RecordedLines();
    outlet.room = 500;
    outlet.holds = true;
    const log = new LeaseLog(lease, outlet);
    for (let n = 1; n <= 10; n++) log.add("info", ["x".repeat(100)]);
    log.end();
    assert.deepEqual(outlet.dropped, Array(7).fill("1 buffer"));
    assert.equal(log.take()?.lines, 3);
  });
});

/** JetStream as a test plays it: each append waits for its answer. */
class FakeStream {
  readonly appended: { readonly subject: string; readonly batch: JobLogBatch }[] = [];
  readonly #answers: { resolve(sequence: number): void; reject(error: Error): void }[] = [];
  reconnected: () => void = () => undefined;

  append(subject: string, data: Uint8Array): Promise<number> {
    this.appended.push({ subject, batch: JobLogBatch.decode(data) });
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  }

  onReconnect(listener: () => void): () => void {
    this.reconnected = listener;
    return () => undefined;
  }

  async acknowledge(): Promise<void> {
    this.#answers.shift()?.resolve(1);
    await turn();
  }

  async fail(error: Error = new AppendError("unknown", 0, "no acknowledgement in time")): Promise<void> {
    this.#answers.shift()?.reject(error);
    await turn();
  }
}

describe("jobs' logs", () => {
  async function start(t: { after(run: () => Promise<void>): void }) {
    const stream = new FakeStream();
    const registry = createRegistry("test");
    const logs = new JobLogs({ nats: stream, log: silentLog(), registry });
    await logs.start();
    t.after(() => logs.stop());
    const dropped = async (): Promise<string[]> => {
      const metric = await registry.getSingleMetric("arrw_worker_log_lines_dropped_total")?.get();
      return metric?.values.map(({ labels, value }) => `${value} ${labels.reason}`) ?? [];
    };
    return { stream, logs, dropped };
  }
  const lease = (n: number) => ({ jobId: `job-${n}`, lease: BigInt(n), attempt: 1 });

  test("lines of many leases are sent together after 250 ms, each to its job's subject", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { stream, logs } = await start(t);
    for (const n of [1, 2]) logs.open(lease(n)).add("info", ["a", "b"]);
    t.mock.timers.tick(249);
    assert.equal(stream.appended.length, 0);
    t.mock.timers.tick(1);
    assert.deepEqual(
      stream.appended.map(({ subject, batch }) => [subject, batch.lines.length]),
      [
        ["arrw.log.job-1", 2],
        ["arrw.log.job-2", 2],
      ],
    );
  });

  test("what NATS does not take is sent again, in order, and at once after a reconnect", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { stream, logs } = await start(t);
    const log = logs.open(lease(1));
    log.add("info", ["a"]);
    log.seal();
    await stream.fail();
    log.add("info", ["b"]);
    log.seal();
    assert.equal(stream.appended.length, 1);
    t.mock.timers.tick(200);
    await stream.fail();
    stream.reconnected();
    await stream.acknowledge();
    await stream.acknowledge();
    assert.deepEqual(
      stream.appended.map(({ batch }) => batch.firstLine),
      [1, 1, 1, 2],
    );
    assert.equal(await logs.flush(1), true);
  });

  test("a refused batch is counted and left out", async (t) => {
    const { stream, logs, dropped } = await start(t);
    const log = logs.open(lease(1));
    log.add("info", ["a", "b"]);
    log.end();
    await stream.fail(new AppendError("rejected", 10_054, "message size exceeds maximum allowed"));
    assert.deepEqual(await dropped(), ["2 refused"]);
    assert.equal(await logs.flush(1), true);
  });

  test("memory is bounded while NATS is away: lines of the oldest leases give way", async (t) => {
    t.mock.timers.enable({ apis: ["setTimeout"] });
    const { stream, logs, dropped } = await start(t);
    const text = "x".repeat(4_000);
    for (let n = 1; n <= 60; n++) {
      const log = logs.open(lease(n));
      for (let line = 0; line < 55; line++) log.add("error", [text]);
      log.end();
      await stream.fail();
    }
    const [counted = ""] = await dropped();
    assert.match(counted, /^\d+ buffer$/);
    // 60 x 55 lines of 4,000 bytes are 13.2 MB; 8 MiB of them are kept.
    const lost = Number.parseInt(counted, 10);
    assert.ok(lost > 1_100 && lost < 1_400, counted);
    assert.equal(await flushes(logs, t), false);
    stream.reconnected();
    assert.ok(stream.appended.length < 80, "in flight are at most 64");
    while (stream.appended.at(-1)?.subject !== "arrw.log.job-60") await stream.acknowledge();
  });

  async function flushes(logs: JobLogs, t: { mock: { timers: { tick(ms: number): void } } }) {
    const flushed = logs.flush(10);
    t.mock.timers.tick(10);
    return flushed;
  }
});
