import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  DELETE_START,
  decodeDeleteCheckpoint,
  encodeDeleteCheckpoint,
} from "../../../services/worker/domain/delete-checkpoint.ts";
import { byLibrary, type Candidate, planDeletes } from "../../../services/worker/domain/delete-plan.ts";

const anyState = fc.constantFrom<Candidate["state"]>("new", "found", "begun", "done");
const anyBatch = fc
  .array(fc.record({ documentId: fc.constantFrom("a", "b", "c", "d"), state: anyState }), { maxLength: 12 })
  .map((all): Candidate[] => all.map((each, ordinal) => ({ ...each, ordinal, title: "", libraryId: "" })));

const anyPlaces = fc.dictionary(
  fc.constantFrom("a", "b", "c", "d"),
  fc.subarray(["one", "two", "three"], { minLength: 1 }),
);

test("every id of a batch is done, to be removed, unknown or ambiguous; a new one is removed once, where it alone is", () => {
  fc.assert(
    fc.property(anyBatch, anyPlaces, (batch, there) => {
      const places = Object.entries(there).map(([id, libraries]) => {
        return [id, libraries.map((libraryId) => ({ libraryId, title: `title ${id}` }))] as const;
      });
      const plan = planDeletes(batch, new Map(places));
      const ordinals = [plan.done, plan.remove, plan.unknown, plan.ambiguous]
        .flat()
        .map(({ ordinal }) => ordinal);
      assert.deepEqual(
        ordinals.sort((a, b) => a - b),
        batch.map(({ ordinal }) => ordinal),
      );
      // What an attempt before has begun or done is never said to be unknown.
      assert.ok([...plan.unknown, ...plan.ambiguous].every(({ state }) => state === "new"));
      assert.ok(plan.ambiguous.every(({ documentId }) => (there[documentId]?.length ?? 0) > 1));
      assert.ok(plan.done.every(({ state }) => state === "done"));
      assert.deepEqual(new Set([...byLibrary(plan.remove).values()].flat()), new Set(plan.remove));
      const fresh = plan.remove.filter(({ state }) => state === "new");
      assert.equal(new Set(fresh.map(({ documentId }) => documentId)).size, fresh.length);
      for (const { documentId, title, libraryId } of fresh) {
        assert.deepEqual(there[documentId], [libraryId]);
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
