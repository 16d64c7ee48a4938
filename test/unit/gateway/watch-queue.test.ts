import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type WatchEntry, WatchQueue } from "../../../services/gateway/domain/watch-queue.ts";

function entry(revision: number, payload = `r${revision}`, terminal = false): WatchEntry<string> {
  return { revision: BigInt(revision), terminal, payload };
}

function drain(queue: WatchQueue<string>): string[] {
  const payloads: string[] = [];
  for (let next = queue.shift(); next; next = queue.shift()) payloads.push(next.payload);
  return payloads;
}

test("transitions keep their order, each one; older ones are refused", () => {
  const queue = new WatchQueue<string>(10, 0n);
  assert.equal(queue.offerTransition(entry(1)), "queued");
  assert.equal(queue.offerTransition(entry(3)), "queued");
  assert.equal(queue.offerTransition(entry(2)), "stale");
  assert.equal(queue.offerTransition(entry(3)), "stale");
  assert.deepEqual(drain(queue), ["r1", "r3"]);
});

test("progress: the newest only, and only of the newest revision", () => {
  const queue = new WatchQueue<string>(10, 0n);
  assert.equal(queue.offerProgress(entry(1, "early")), "stale");
  queue.offerTransition(entry(1));
  assert.equal(queue.offerProgress(entry(1, "10 %")), "queued");
  assert.equal(queue.offerProgress(entry(1, "20 %")), "replaced");
  assert.deepEqual(drain(queue), ["r1", "20 %"]);
  queue.offerProgress(entry(1, "30 %"));
  assert.equal(queue.offerTransition(entry(2)), "replaced");
  assert.equal(queue.offerProgress(entry(1, "40 %")), "stale");
  assert.deepEqual(drain(queue), ["r2"]);
});

test("a snapshot covers what waits up to its revision", () => {
  const queue = new WatchQueue<string>(10, 0n);
  for (const revision of [1, 2, 3]) queue.offerTransition(entry(revision));
  queue.offerSnapshot(entry(2, "snapshot"));
  assert.deepEqual(drain(queue), ["snapshot", "r3"]);
  assert.equal(queue.offerTransition(entry(2)), "stale");
  const behind = new WatchQueue<string>(10, 0n);
  behind.offerSnapshot(entry(5, "snapshot"));
  assert.equal(behind.offerTransition(entry(4)), "stale");
  assert.deepEqual(drain(behind), ["snapshot"]);
});

test("the bound is on transitions; nothing is dropped silently", () => {
  const queue = new WatchQueue<string>(2, 0n);
  queue.offerTransition(entry(1));
  queue.offerTransition(entry(2));
  assert.equal(queue.offerProgress(entry(2, "p")), "queued");
  assert.equal(queue.offerTransition(entry(3)), "overflow");
  assert.equal(queue.size, 3);
  assert.deepEqual(drain(queue), ["r1", "r2", "p"]);
});

test("whatever is offered in whatever order, revisions never go down and no accepted transition is lost", () => {
  const step = fc.record({
    kind: fc.constantFrom("transition", "progress", "shift"),
    revision: fc.integer({ min: 1, max: 12 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), fc.integer({ min: 0, max: 5 }), (steps, after) => {
      const queue = new WatchQueue<string>(1_000, BigInt(after));
      const accepted: bigint[] = [];
      const sent: WatchEntry<string>[] = [];
      for (const { kind, revision } of steps) {
        if (kind === "shift") {
          const next = queue.shift();
          if (next) sent.push(next);
        } else if (kind === "progress") queue.offerProgress(entry(revision, "progress"));
        else if (queue.offerTransition(entry(revision, "transition")) !== "stale")
          accepted.push(BigInt(revision));
      }
      for (let next = queue.shift(); next; next = queue.shift()) sent.push(next);
      const transitions = sent
        .filter(({ payload }) => payload === "transition")
        .map(({ revision }) => revision);
      assert.deepEqual(transitions, accepted);
      for (const [at, { revision }] of sent.entries()) assert.ok(revision >= (sent[at - 1]?.revision ?? 0n));
    }),
  );
});
