import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { OPERATIONS, withSettingsTable } from "../../support/settings-table.ts";

const document = readFileSync(OPERATIONS, "utf8");

test("docs/operations.md lists every setting as the code has it", () => {
  assert.equal(document, withSettingsTable(document), "run npm run docs");
});

test("docs/operations.md lists every metric with its type, and no other", () => {
  const documented = new Map(
    [...document.matchAll(/^\| `(arrw_\w+)` \| (\w+) \|/gm)].map(([, name, type]) => [name, type]),
  );
  const defined = new Map<string, string>();
  for (const source of sources(["platform", "services"])) {
    for (const [, name = ""] of source.matchAll(/"(arrw_[a-z_]+)"/g)) defined.set(name, "");
    const metrics = /new (Counter|Gauge|Histogram)\(\{\s*name: "(arrw_\w+)"|\b(gauge)\("(arrw_\w+)"/g;
    for (const [, kind, name, helper, helped] of source.matchAll(metrics)) {
      defined.set(name ?? helped ?? "", (kind ?? helper ?? "").toLowerCase());
    }
  }
  assert.ok(defined.size > 30, `${defined.size} metrics found in the code`);
  assert.deepEqual(sorted(documented), sorted(defined));
});

test("every metric that counts is named so, and no other", () => {
  for (const [, name = "", type] of document.matchAll(/^\| `(arrw_\w+)` \| (\w+) \|/gm)) {
    assert.equal(name.endsWith("_total"), type === "counter", name);
  }
});

function* sources(folders: readonly string[]): Generator<string> {
  for (const folder of folders) {
    const root = fileURLToPath(new URL(`../../../${folder}`, import.meta.url));
    for (const file of readdirSync(root, { recursive: true, encoding: "utf8" })) {
      if (file.endsWith(".ts")) yield readFileSync(join(root, file), "utf8");
    }
  }
}

function sorted<V>(map: ReadonlyMap<string | undefined, V>): [string | undefined, V][] {
  return [...map].sort(([a = ""], [b = ""]) => (a < b ? -1 : 1));
}
