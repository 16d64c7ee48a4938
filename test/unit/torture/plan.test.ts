import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { makePlan } from "../../torture/plan.ts";
import { FrameReader } from "../../torture/system/nats-frames.ts";

test("a seed is one plan; another seed is another", () => {
  assert.deepEqual(makePlan(42, 60_000), makePlan(42, 60_000));
  assert.notDeepEqual(makePlan(42, 60_000), makePlan(43, 60_000));
});

test("a minute has all kinds of operations and faults, each fault over by the end and alone on its target", () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 20; seed++) {
    const { operations, faults, durationMs } = makePlan(seed, 60_000);
    const busyUntil = new Map<string, number>();
    let lastMs = 0;
    for (const { atMs, kind, target, forMs } of faults) {
      assert.ok(atMs >= lastMs && atMs + forMs <= durationMs);
      assert.ok((busyUntil.get(target) ?? 0) <= atMs, `${target} has two faults at ${atMs}`);
      busyUntil.set(target, atMs + forMs);
      lastMs = atMs;
      kinds.add(kind);
    }
    for (const operation of operations) {
      kinds.add(operation.kind);
      if ("of" in operation) assert.ok(["submit", "import"].includes(operations[operation.of]?.kind ?? ""));
    }
  }
  const expected =
    "cancel cut delay delete freeze get hold import kill repeat retry stop strand submit watch";
  assert.equal([...kinds].sort().join(" "), expected);
});

test("a NATS client's bytes are cut into its messages wherever the chunks end", () => {
  const parts = [
    'CONNECT {"verbose":false}\r\n',
    "PUB arrw.outcomes 5\r\nhello\r\n",
    "PING\r\n",
    "PUB arrw.heartbeat _INBOX.1 7\r\nPUB a\r\n\r\n",
    "HPUB arrw.journal _INBOX.2 12 16\r\nNATS/1.0\r\n\r\nbody\r\n",
    "SUB arrw.> 1\r\n",
  ];
  const bytes = Buffer.from(parts.join(""));
  const cuts = fc.array(fc.nat(bytes.length), { maxLength: 12 });
  fc.assert(
    fc.property(cuts, (points) => {
      const reader = new FrameReader();
      const ends = [...points.sort((a, b) => a - b), bytes.length];
      const frames = ends.flatMap((end, n) => reader.push(bytes.subarray(ends[n - 1] ?? 0, end)));
      assert.deepEqual(
        frames.map((frame) => frame.bytes.toString()),
        parts,
      );
      const published = frames.flatMap(({ subject, payload }) =>
        subject ? [[subject, payload?.toString()]] : [],
      );
      assert.deepEqual(published, [
        ["arrw.outcomes", "hello"],
        ["arrw.heartbeat", "PUB a\r\n"],
        ["arrw.journal", "body"],
      ]);
    }),
  );
});
