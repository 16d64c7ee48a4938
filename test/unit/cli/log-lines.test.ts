import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNatsLine, parseServiceLine, renderEntry } from "../../../cli/log-lines.ts";

const line = (fields: Record<string, unknown>): string =>
  JSON.stringify({
    level: "info",
    time: "2026-01-31T09:04:50.349Z",
    service: "index",
    pid: 1,
    msg: "opened",
    ...fields,
  });

test("a service's line becomes: time name level message key=value", () => {
  const entry = parseServiceLine(
    "index",
    line({ library_id: "lib-1", note: "two words", documents: 3, list: [1] }),
  );
  assert.match(
    renderEntry(entry, false),
    /^\d\d:\d\d:50\.349 index {5}info {2}opened library_id=lib-1 note="two words" documents=3 list=\[1\]$/,
  );
});

test("an error shows its reason, and its stack only when severe", () => {
  const err = {
    type: "Error",
    message: "disk is full",
    stack: "Error: disk is full\n    at write (store.ts:1:1)",
  };
  const severe = renderEntry(
    parseServiceLine("index", line({ level: "error", msg: "write failed", err })),
    false,
  );
  assert.match(severe, /write failed err="disk is full"\n {4}at write \(store\.ts:1:1\)$/);
  const mild = renderEntry(
    parseServiceLine("index", line({ level: "warn", msg: "write failed: disk is full", err })),
    false,
  );
  assert.match(mild, /write failed: disk is full$/);
});

test("what is not JSON is shown as it is", () => {
  for (const text of ["Segmentation fault", "{broken", "[1]", ""]) {
    assert.equal(
      renderEntry(parseServiceLine("index", text), false),
      `${" ".repeat(12)} index           ${text}`,
    );
  }
});

test("nats-server's lines are read", () => {
  const entry = parseNatsLine("[5169] 2026/11/24 09:04:50.349121 [WRN] Slow consumer");
  assert.deepEqual([entry.time, entry.level, entry.message], ["09:04:50.349", "warn", "Slow consumer"]);
  assert.equal(parseNatsLine("something else").message, "something else");
});

test("colour only when asked for", () => {
  const entry = parseServiceLine("index", line({ level: "error" }));
  assert.ok(renderEntry(entry, true).includes("\u001b[31merror"));
  assert.ok(!renderEntry(entry, false).includes("\u001b"));
});
