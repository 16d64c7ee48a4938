import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatCursor, parseCursor } from "../../../services/index/domain/change-cursor.ts";

const library = fc.record({
  number: fc.integer({ min: 1, max: 1_000_000 }),
  createdAtMs: fc.integer({ min: 1, max: 10 ** 14 }),
});
const position = fc.record({
  change: fc.integer({ min: 1, max: 10 ** 14 }),
  index: fc.integer({ min: 0, max: 100_000 }),
});

test("a cursor says where it stands, to its library alone", () => {
  fc.assert(
    fc.property(library, library, position, (own, other, at) => {
      const cursor = formatCursor(own, at);
      assert.deepEqual(parseCursor(own, cursor), { ...at });
      const same = own.number === other.number && own.createdAtMs === other.createdAtMs;
      assert.deepEqual(parseCursor(other, cursor), same ? { ...at } : undefined);
    }),
  );
});

test("what was changed by a character is no cursor, or another one", () => {
  fc.assert(
    fc.property(library, position, fc.nat(), fc.string({ maxLength: 2 }), (own, at, where, text) => {
      const cursor = formatCursor(own, at);
      const i = where % cursor.length;
      const changed = cursor.slice(0, i) + text + cursor.slice(i + 1);
      const parsed = parseCursor(own, changed);
      if (parsed) assert.equal(formatCursor(own, parsed), changed);
    }),
  );
  const own = { number: 1, createdAtMs: 5 };
  for (const text of ["1:1:5:0:0", "1:1:5:1:01", "1:01:5:1:0x", "1:1:5:1", "2:1:5:1:0", "1:01:5:1:0"]) {
    assert.equal(parseCursor(own, Buffer.from(text).toString("base64url")), undefined, text);
  }
});
