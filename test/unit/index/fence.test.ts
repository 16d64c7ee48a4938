import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  beginLease,
  CLOSED_ROW_TTL_MS,
  endLease,
  type FenceRow,
  isForgotten,
  refuseMutation,
} from "../../../services/index/domain/fence.ts";

const row = (lease: bigint, open: boolean): FenceRow => ({ lease, open, atMs: 1 });

test("a lease begins where nothing is known, at a higher lease, and again while it is open", () => {
  assert.deepEqual(beginLease(undefined, 5n, 9), { row: { lease: 5n, open: true, atMs: 9 } });
  assert.deepEqual(beginLease(row(4n, true), 5n, 9), { row: { lease: 5n, open: true, atMs: 9 } });
  assert.deepEqual(beginLease(row(4n, false), 5n, 9), { row: { lease: 5n, open: true, atMs: 9 } });
  assert.deepEqual(beginLease(row(5n, true), 5n, 9), { row: { lease: 5n, open: true, atMs: 9 } });
});

test("a lease doesn't begin below the row's, nor when it has ended", () => {
  assert.deepEqual(beginLease(row(6n, true), 5n, 9), { refused: "older" });
  assert.deepEqual(beginLease(row(6n, false), 5n, 9), { refused: "older" });
  assert.deepEqual(beginLease(row(5n, false), 5n, 9), { refused: "closed" });
});

test("ending closes a missing, a lower or the same row and leaves a higher one alone", () => {
  const closed = { lease: 5n, open: false, atMs: 9 };
  assert.deepEqual(endLease(undefined, 5n, 9), closed);
  assert.deepEqual(endLease(row(4n, true), 5n, 9), closed);
  assert.deepEqual(endLease(row(5n, true), 5n, 9), closed);
  assert.equal(endLease(row(5n, false), 5n, 9), undefined);
  assert.equal(endLease(row(6n, true), 5n, 9), undefined);
});

test("a mutation needs the row's own lease, open", () => {
  assert.equal(refuseMutation(row(5n, true), 5n), undefined);
  assert.equal(refuseMutation(row(5n, false), 5n), "closed");
  assert.equal(refuseMutation(row(6n, true), 5n), "older");
  assert.equal(refuseMutation(row(4n, true), 5n), "not begun");
  assert.equal(refuseMutation(undefined, 5n), "not begun");
});

test("closed rows are forgotten after a day, open ones never", () => {
  assert.equal(isForgotten({ lease: 1n, open: false, atMs: 0 }, CLOSED_ROW_TTL_MS), true);
  assert.equal(isForgotten({ lease: 1n, open: false, atMs: 0 }, CLOSED_ROW_TTL_MS - 1), false);
  assert.equal(isForgotten({ lease: 1n, open: true, atMs: 0 }, 100 * CLOSED_ROW_TTL_MS), false);
});

test("whatever the order of calls, at most one lease may write, and an ended one never again", () => {
  const call = fc.record({ kind: fc.constantFrom("begin", "end"), lease: fc.bigInt(1n, 6n) });
  fc.assert(
    fc.property(fc.array(call, { maxLength: 30 }), (calls) => {
      let current: FenceRow | undefined;
      const ended = new Set<bigint>();
      let highest = 0n;
      for (const { kind, lease } of calls) {
        if (kind === "begin") {
          const decision = beginLease(current, lease, 0);
          if (decision.row) current = decision.row;
        } else {
          current = endLease(current, lease, 0) ?? current;
          ended.add(lease);
        }
        if (current && current.lease > highest) highest = current.lease;
        const writers = [1n, 2n, 3n, 4n, 5n, 6n].filter((each) => !refuseMutation(current, each));
        assert.ok(writers.length <= 1);
        for (const writer of writers) {
          assert.equal(writer, highest);
          assert.ok(!ended.has(writer));
        }
      }
    }),
  );
});
