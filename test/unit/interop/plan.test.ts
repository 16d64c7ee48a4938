import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { PARTS, planRun, type Tool } from "../../interop/plan.ts";

test("with all tools everything is run, and nothing is said", () => {
  const all = PARTS.map(({ name }) => name);
  for (const optional of [false, true]) {
    assert.deepEqual(planRun(new Set(), optional), { parts: all, notes: [], failure: undefined });
  }
});

test("every test file is a part", () => {
  const folder = fileURLToPath(new URL("../../interop", import.meta.url));
  const files = readdirSync(folder).filter((name) => name.endsWith(".test.ts"));
  assert.deepEqual(files.sort(), PARTS.map(({ name }) => `${name}.test.ts`).sort());
});

test("a missing tool fails the run, by name", () => {
  for (const tool of ["go", "pip", "curl"] as const) {
    const { parts, notes, failure } = planRun(new Set([tool]), false);
    assert.deepEqual([parts, notes], [[], []]);
    assert.match(failure ?? "", new RegExp(`^interop: ${tool} is missing: .*ARRW_INTEROP_OPTIONAL=1`));
  }
  const { failure } = planRun(new Set<Tool>(["pip", "go"]), false);
  assert.match(failure ?? "", /go is missing: .*; pip is missing: /);
});

test("where that is allowed it is left out, and said", () => {
  const { parts, notes, failure } = planRun(new Set(["go"]), true);
  assert.deepEqual(notes, ["skipped: go"]);
  assert.deepEqual(parts, ["node", "http", "python"]);
  assert.equal(failure, undefined);
  assert.deepEqual(planRun(new Set<Tool>(["pip", "go", "curl"]), true).notes, [
    "skipped: curl",
    "skipped: go",
    "skipped: pip",
  ]);
  assert.deepEqual(planRun(new Set<Tool>(["pip", "go", "curl"]), true).parts, ["node"]);
});
