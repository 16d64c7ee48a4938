import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { behind, formatCursor, parseCursor } from "../../../services/gateway/domain/watch-cursor.ts";

test("a cursor is read as it was written", () => {
  const sequence = fc.integer({ min: 0, max: 10 ** 14 });
  const index = fc.option(fc.integer({ min: 0, max: 100_000 }), { nil: undefined });
  fc.assert(
    fc.property(sequence, index, (s, i) => {
      assert.deepEqual(parseCursor(formatCursor(s, i)), { sequence: s, index: i });
    }),
  );
});

test("the format is the one of ListJobs.cursor, and of events", () => {
  const text = (cursor: string): string => Buffer.from(cursor, "base64url").toString();
  assert.equal(text(formatCursor(17)), "1:17");
  assert.equal(text(formatCursor(17, 3)), "1:17:3");
});

test("anything else is no cursor", () => {
  const encoded = (text: string): string => Buffer.from(text).toString("base64url");
  for (const text of [
    "",
    "1:",
    "2:1",
    "1:-1",
    "1:01",
    "1:1:",
    "1:1:-2",
    "1:1:2:3",
    "1:1e3",
    " 1:1",
    `1:${"9".repeat(16)}`,
  ]) {
    assert.equal(parseCursor(encoded(text)), undefined, text);
  }
  for (const raw of ["1:17", `${formatCursor(17)}=`, ` ${formatCursor(17)}`, "!", "x".repeat(10_000)]) {
    assert.equal(parseCursor(raw), undefined, raw.slice(0, 20));
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      const cursor = parseCursor(text);
      if (cursor) assert.equal(formatCursor(cursor.sequence, cursor.index), text);
    }),
  );
});

test("a watch goes on behind an event, or behind the whole batch", () => {
  assert.deepEqual(behind({ sequence: 5, index: 2 }), { sequence: 5, index: 3 });
  assert.deepEqual(behind({ sequence: 5, index: undefined }), { sequence: 6, index: 0 });
});
