import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { ApiKey } from "../../../platform/embedding/api-key.ts";
import { callBatches } from "../../../platform/embedding/call-batches.ts";
import { CallLimiter, TooBusy } from "../../../platform/embedding/call-limiter.ts";
import { EmbeddingMetrics } from "../../../platform/embedding/embedding-metrics.ts";
import { openai } from "../../../platform/embedding/openai.ts";
import { RemoteCalls } from "../../../platform/embedding/remote-calls.ts";
import { backoffMs, retryAfterMs } from "../../../platform/embedding/retry-delay.ts";
import { VectorMemory } from "../../../platform/embedding/vector-memory.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";

const never = new AbortController().signal;

test("texts are cut into calls within both bounds, in order, none left out", () => {
  const bounds = fc.record({
    maxTexts: fc.integer({ min: 1, max: 20 }),
    maxBytes: fc.integer({ min: 1, max: 200 }),
  });
  fc.assert(
    fc.property(
      fc.array(fc.string({ unit: "grapheme", maxLength: 60 })),
      bounds,
      (texts, { maxTexts, maxBytes }) => {
        const batches = callBatches(texts, { maxTexts, maxBytes });
        assert.deepEqual(batches.flat(), [...texts.keys()]);
        for (const batch of batches) {
          const bytes = batch.reduce((sum, place) => sum + Buffer.byteLength(texts[place] ?? ""), 0);
          assert.ok(batch.length >= 1 && batch.length <= maxTexts);
          assert.ok(batch.length === 1 || bytes <= maxBytes);
        }
      },
    ),
  );
});

test("Retry-After is seconds or a date; anything else is none", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  const expected: [string | undefined, number | undefined][] = [
    ["0", 0],
    ["3", 3_000],
    [" 1.5 ", 1_500],
    ["999999999", 3_600_000],
    ["Sun, 01 Mar 2026 12:00:30 GMT", 30_000],
    ["Sunday, 01-Mar-26 12:00:30 GMT", 30_000],
    ["Sun, 01 Mar 2026 11:00:00 GMT", 0],
    ["Fri, 01 Jan 2100 00:00:00 GMT", 3_600_000],
    [undefined, undefined],
    ["", undefined],
    ["-5", undefined],
    ["soon", undefined],
    ["NaN", undefined],
  ];
  for (const [header, ms] of expected) assert.equal(retryAfterMs(header, now), ms, header);
  fc.assert(
    fc.property(fc.string(), (header) => {
      const ms = retryAfterMs(header, now);
      assert.ok(ms === undefined || (ms >= 0 && ms <= 3_600_000));
    }),
  );
});

test("backoff is spread over the whole delay, which doubles up to its bound", () => {
  const bounds = { firstMs: 100, maxMs: 1_000 };
  assert.deepEqual(
    [0, 1, 2, 3, 4, 1_000].map((tries) => backoffMs(tries, bounds, 1)),
    [100, 200, 400, 800, 1_000, 1_000],
  );
  assert.equal(backoffMs(3, bounds, 0), 0);
  assert.equal(backoffMs(3, bounds, 0.5), 400);
});

test("so many calls at a time, in the order in which they came", async () => {
  const limiter = new CallLimiter(2);
  const begun: number[] = [];
  const ends: (() => void)[] = [];
  const calls = [0, 1, 2, 3].map((n) =>
    limiter.run(
      () => {
        begun.push(n);
        return new Promise<void>((resolve) => ends.push(resolve));
      },
      never,
      10_000,
    ),
  );
  await settled();
  assert.deepEqual(begun, [0, 1]);
  ends[1]?.();
  await settled();
  assert.deepEqual(begun, [0, 1, 2]);
  ends[0]?.();
  ends[2]?.();
  await settled();
  ends[3]?.();
  await Promise.all(calls);
  assert.deepEqual(begun, [0, 1, 2, 3]);
});

test("one refusal makes all calls wait, and half as many go on", async () => {
  const limiter = new CallLimiter(8, () => 0);
  assert.ok(limiter.refused(100) >= 99);
  // Of calls that were sent together.
  limiter.refused(100);
  assert.equal(limiter.allowed, 4);
  const beganMs = performance.now();
  await limiter.run(async () => undefined, never, 10_000);
  assert.ok(performance.now() - beganMs >= 95);
  for (let n = 0; n < 100; n++) limiter.succeeded();
  assert.equal(limiter.allowed, 8);
});

test("who would wait for longer than its time gives up at once; an aborted one leaves", async () => {
  const limiter = new CallLimiter(1, () => 0);
  const run = (signal: AbortSignal, maxWaitMs: number) => limiter.run(async () => "ran", signal, maxWaitMs);
  const abort = new AbortController();
  const release = hold(limiter);
  const waiting = run(never, 5_000);
  const aborted = run(abort.signal, 120_000);
  const short = run(never, 1);
  await assert.rejects(short, TooBusy);
  limiter.refused(60_000);
  await assert.rejects(waiting, (error) => error instanceof TooBusy && error.pausedMs > 59_000);
  await assert.rejects(run(never, 5_000), TooBusy);
  abort.abort(new Error("stopped"));
  await assert.rejects(aborted, /stopped/);
  await assert.rejects(run(abort.signal, 5_000), /stopped/);
  await release();
});

test("a key comes from its setting or its file, which is read again when the key is refused", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "arrw-key-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "key");
  const setting = "ARRW_OPENAI_API_KEY";
  assert.equal(await new ApiKey({ setting, value: " abc \n", file: "" }).get(), "abc");
  assert.equal(await new ApiKey({ setting, value: "", file: "" }).get(), "");
  const key = new ApiKey({ setting, value: "ignored", file });
  await assert.rejects(key.get(), /ENOENT.*ARRW_OPENAI_API_KEY_FILE/);
  writeFileSync(file, "first\n");
  assert.equal(await key.get(), "first");
  writeFileSync(file, "second\n");
  assert.equal(await key.get(), "first");
  assert.equal(await key.renew("first"), true);
  assert.equal(await key.get(), "second");
  assert.equal(await key.renew("second"), false);
  writeFileSync(file, " \n");
  await assert.rejects(key.renew("second"), /empty/);
});

test("a key that no header can carry is refused without being shown", async () => {
  for (const value of ["two\nlines", "two words", "schlüssel"]) {
    const key = new ApiKey({ setting: "ARRW_COHERE_API_KEY", value, file: "" });
    await assert.rejects(key.get(), (error: Error & { reason?: string }) => {
      assert.equal(error.reason, "EMBEDDING_UNAUTHORIZED");
      assert.match(error.message, /check ARRW_COHERE_API_KEY/);
      return !error.message.includes(value);
    });
  }
});

test("a key that can't be used is counted and timed as a call that failed", async () => {
  const registry = createRegistry("test");
  const calls = new RemoteCalls({
    protocol: openai,
    baseUrl: "http://127.0.0.1:1",
    baseUrlSetting: "ARRW_OPENAI_BASE_URL",
    key: new ApiKey({ setting: "ARRW_OPENAI_API_KEY", value: "two words", file: "" }),
    limiter: new CallLimiter(1),
    patience: { unavailableMs: 1_000, rateLimitedMs: 1_000, timeoutMs: 1_000 },
    metrics: new EmbeddingMetrics(registry),
    log: silentLog(),
  });
  const call = { model: "m", dimensions: 2, texts: ["text"], purpose: "document" as const };
  await assert.rejects(calls.embed(call, never), { reason: "EMBEDDING_UNAUTHORIZED" });
  const metrics = await registry.metrics();
  assert.match(metrics, /arrw_embedding_calls_total\{[^}]*outcome="unauthorized"[^}]*\} 1\n/);
  assert.match(metrics, /arrw_embedding_call_seconds_count\{[^}]*\} 1\n/);
});

test("remembered vectors are bounded in bytes and are copies", () => {
  const memory = new VectorMemory(10_000);
  const row = Float32Array.of(1, 2);
  const key = memory.key("e", "text");
  memory.set(key, row);
  row[0] = 9;
  assert.deepEqual([...(memory.get(key) ?? [])], [1, 2]);
  assert.notEqual(memory.key("e", "text"), memory.key("f", "text"));
  for (let n = 0; n < 100; n++) memory.set(memory.key("e", String(n)), row);
  assert.equal(memory.get(key), undefined);
  assert.ok(memory.get(memory.key("e", "99")));
  const off = new VectorMemory(0);
  off.set(key, row);
  assert.equal(off.get(key), undefined);
});

/** Occupies the limiter's one place until the returned function is called. */
function hold(limiter: CallLimiter): () => Promise<void> {
  let end: () => void = () => undefined;
  const held = limiter.run(() => new Promise<void>((resolve) => (end = resolve)), never, 1_000);
  return async () => {
    end();
    await held;
  };
}

function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
