import assert from "node:assert/strict";
import { test } from "node:test";
import { logText } from "../../../cli/job-logs.ts";

const at = new Date(2026, 0, 31, 9, 4, 50, 7);

test("a line of a job's log: time, level, text; the attempt from the second one on", () => {
  const line = { at, level: "warn", attempt: 1, line: "document 3 is not imported", cursor: "1-1-2" };
  assert.equal(logText(line), "2026-01-31 09:04:50.007  warn   document 3 is not imported");
  assert.equal(
    logText({ ...line, level: "error", attempt: 2 }),
    "2026-01-31 09:04:50.007  error  attempt 2  document 3 is not imported",
  );
});

test("a line can't steer the terminal", () => {
  const line = { at: undefined, level: "info", attempt: 1, line: "\u001b[2Jgone\rover\u0007", cursor: "" };
  assert.equal(logText(line), "  info   [2Jgone over");
});
