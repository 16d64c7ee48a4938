import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type CommandName, cell, commands, type StateName, states } from "./states.ts";

const DOCUMENT = new URL("../../../docs/state-machine.md", import.meta.url);

/** Rows of the table between the two marks, cells trimmed, without the line of dashes. */
function rowsOf(document: string): string[][] {
  const table = /<!-- table: state x command -->\n([\s\S]*?)<!-- end -->/.exec(document)?.[1] ?? "";
  const rows = table.split("\n").filter((line) => line.startsWith("|"));
  return rows
    .map((row) =>
      row
        .split("|")
        .slice(1, -1)
        .map((text) => text.trim()),
    )
    .filter((cells) => !cells.every((text) => /^-+$/.test(text)));
}

test("the table in docs/state-machine.md is what decide() does", () => {
  const from = Object.keys(states) as StateName[];
  const names = Object.keys(commands) as CommandName[];
  const expected = [["", ...from], ...names.map((name) => [name, ...from.map((state) => cell(state, name))])];
  assert.deepEqual(rowsOf(readFileSync(DOCUMENT, "utf8")), expected);
});
