import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EventQueue } from "../../../services/gateway/domain/event-queue.ts";

test("first in, first out, with exact counts, whatever is pushed and taken", () => {
  const steps = fc.array(fc.oneof(fc.string({ minLength: 1, maxLength: 5 }), fc.constant(undefined)), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(steps, (all) => {
      const queue = new EventQueue<string>(10, 1_000);
      const model: string[] = [];
      for (const step of all) {
        if (step === undefined) assert.equal(queue.shift(), model.shift());
        else {
          queue.push(step);
          model.push(step);
        }
        assert.equal(queue.size, model.length);
        assert.equal(queue.bytes, model.join("").length);
      }
    }),
  );
});

test("bounded by entries and by bytes; an empty one takes anything", () => {
  const queue = new EventQueue<string>(3, 10);
  assert.ok(queue.accepts(1_000, 1_000_000));
  queue.push("ab");
  assert.deepEqual([queue.accepts(2, 8), queue.accepts(3, 3), queue.accepts(1, 9)], [true, false, false]);
  queue.shift();
  assert.ok(queue.accepts(4, 11));
});
