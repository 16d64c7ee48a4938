import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DELETE_START,
  decodeDeleteCheckpoint,
  encodeDeleteCheckpoint,
} from "../../../services/worker/domain/delete-checkpoint.ts";
import { type Candidate, planDeletes } from "../../../services/worker/domain/delete-plan.ts";

const anyState = fc.constantFrom<Candidate["state"]>("new", "found", "begun", "done");
const anyBatch = fc
  .array(fc.record({ documentId: fc.constantFrom("a", "b", "c", "d"), state: anyState }), { maxLength: 12 })
  .map((all): Candidate[] => all.map((each, ordinal) => ({ ...each, ordinal, title: "" })));

test("every id of a batch is done, to be removed or unknown; a new one is removed once, if it is there", () => {
  fc.assert(
    fc.property(anyBatch, fc.subarray(["a", "b", "c", "d"]), (batch, there) => {
      const plan = planDeletes(batch, new Map(there.map((id) => [id, `title ${id}`])));
      const ordinals = [plan.done, plan.remove, plan.unknown].flat().map(({ ordinal }) => ordinal);
      assert.deepEqual(
        ordinals.sort((a, b) => a - b),
        batch.map(({ ordinal }) => ordinal),
      );
      // What an attempt before has begun or done is never said to be unknown.
      assert.ok(plan.unknown.every(({ state }) => state === "new"));
      assert.ok(plan.done.every(({ state }) => state === "done"));
      const fresh = plan.remove.filter(({ state }) => state === "new");
      assert.equal(new Set(fresh.map(({ documentId }) => documentId)).size, fresh.length);
      for (const { documentId, title } of fresh) {
        assert.ok(there.includes(documentId));
        assert.equal(title, `title ${documentId}`);
        assert.ok(!batch.some((each) => each.documentId === documentId && each.state !== "new"));
      }
    }),
  );
});

test("a checkpoint comes back; what is none is none", () => {
  const checkpoint = { nextOffset: 7, pageToken: "abc", ordinal: 5, deleted: 4, failed: 1 };
  assert.deepEqual(decodeDeleteCheckpoint(encodeDeleteCheckpoint(checkpoint)), checkpoint);
  for (const text of ["", "{", "null", "{}", JSON.stringify({ ...DELETE_START, ordinal: -1 })]) {
    assert.equal(decodeDeleteCheckpoint(Buffer.from(text)), undefined);
  }
});
