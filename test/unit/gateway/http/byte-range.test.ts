import assert from "node:assert/strict";
import { test } from "node:test";
import { isKnown, rangeOf } from "../../../../services/gateway/http/byte-range.ts";

const ETAG = '"abc"';

test("one range of bytes, clipped to the file", () => {
  const cases: readonly (readonly [string, unknown])[] = [
    ["bytes=0-0", { start: 0, end: 0 }],
    ["bytes=90-", { start: 90, end: 99 }],
    ["bytes=90-500", { start: 90, end: 99 }],
    ["bytes=-10", { start: 90, end: 99 }],
    ["bytes=-100", { start: 0, end: 99 }],
    ["bytes=-1000", { start: 0, end: 99 }],
    ["bytes=100-", "none"],
    ["bytes=-0", "none"],
    ["bytes=500-600", "none"],
    ["bytes=0-1,5-6", "all"],
    ["items=0-1", "all"],
    ["bytes=a-b", "all"],
    ["bytes", "all"],
    ["", "all"],
  ];
  for (const [range, expected] of cases) assert.deepEqual(rangeOf(100, ETAG, { range }), expected, range);
  assert.equal(rangeOf(100, ETAG, {}), "all");
  assert.equal(rangeOf(0, ETAG, { range: "bytes=0-" }), "none");
});

test("a range of another file is not of this one", () => {
  const range = "bytes=5-";
  assert.deepEqual(rangeOf(10, ETAG, { range, ifRange: ETAG }), { start: 5, end: 9 });
  assert.equal(rangeOf(10, ETAG, { range, ifRange: '"other"' }), "all");
  assert.equal(rangeOf(10, ETAG, { range, ifRange: `W/${ETAG}` }), "all");
  assert.equal(rangeOf(10, ETAG, { range, ifRange: "Tue, 01 Jan 2030 00:00:00 GMT" }), "all");
});

test("If-None-Match: any of a list, weak or not, or everything", () => {
  assert.equal(isKnown(ETAG, undefined), false);
  assert.equal(isKnown(ETAG, '"x"'), false);
  for (const known of [ETAG, `W/${ETAG}`, `"x", ${ETAG}`, "*"])
    assert.equal(isKnown(ETAG, known), true, known);
});
