import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  bytes,
  count,
  duration,
  fields,
  plain,
  plural,
  roughly,
  shortened,
  table,
  wrapped,
} from "../../../cli/format.ts";

test("numbers and times read as people write them", () => {
  assert.equal(count(1_234_567n), "1,234,567");
  assert.equal(plural(1, "document"), "1 document");
  assert.equal(plural(2n, "document"), "2 documents");
  assert.deepEqual([420, 12_340, 245_000, 7_800_000, 273_600_000].map(duration), [
    "0.42 s",
    "12.3 s",
    "4 min 05 s",
    "2 h 10 min",
    "3 d 4 h",
  ]);
  assert.deepEqual([4_100, 240_000, 7_200_000, 259_200_000].map(roughly), ["5 s", "4 min", "2 h", "3 d"]);
  assert.deepEqual([0, 512, 999, 12_345, 4_500_000, 123_456_789_012].map(bytes), [
    "0 B",
    "512 B",
    "999 B",
    "12.3 kB",
    "4.5 MB",
    "123 GB",
  ]);
});

test("no text can steer the terminal or break a line", () => {
  assert.equal(plain("a\u001b[31mred\u0007\r\nb\u202ec"), "a [31mred b c");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.integer({ min: 1, max: 50 }), (text, width) => {
      const shown = shortened(text, width);
      assert.ok(!/[\p{Cc}\p{Cf}]/u.test(shown));
      assert.ok([...shown].length <= width);
    }),
  );
});

test("long texts are wrapped between words, the last line is cut", () => {
  assert.deepEqual(wrapped("one two three four five", 9, 2), ["one two", "three fo…"]);
  assert.deepEqual(wrapped("one", 9, 2), ["one"]);
  assert.deepEqual(wrapped(" \n ", 9, 2), []);
  assert.deepEqual(wrapped("abcdefghijkl", 5, 3), ["abcde", "fghij", "kl"]);
});

test("columns line up, numbers to the right", () => {
  const rows = [
    ["docs", "12", "99 %"],
    ["a", "1,234", "-"],
  ];
  assert.deepEqual(table(["NAME", "CHUNKS", "DONE"], rows), [
    "NAME  CHUNKS  DONE",
    "docs      12  99 %",
    "a      1,234     -",
  ]);
  assert.deepEqual(table(["NAME"], []), ["NAME"]);
  assert.deepEqual(
    fields([
      ["id", "x"],
      ["none", undefined],
      ["status", "y"],
    ]),
    ["  id      x", "  status  y"],
  );
});
