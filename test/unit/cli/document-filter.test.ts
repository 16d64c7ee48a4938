import assert from "node:assert/strict";
import { test } from "node:test";
import { condition } from "../../../cli/document-filter.ts";

const equals = (value: unknown) => ({ $case: "equals", value });
const range = (bounds: object) => ({
  $case: "range",
  value: { gte: undefined, gt: undefined, lte: undefined, lt: undefined, ...bounds },
});

test("conditions as they are typed", () => {
  const cases: [string, string, object][] = [
    ["author=ada", "author", equals("ada")],
    ["title=2024", "title", equals("2024")],
    ["title=a=b", "title", equals("a=b")],
    ["tags=", "tags", equals("")],
    ["metadata.year=2024", "metadata.year", equals(2024)],
    ['metadata.year="2024"', "metadata.year", equals("2024")],
    ["metadata.draft=true", "metadata.draft", equals(true)],
    ["metadata.gone=null", "metadata.gone", equals(null)],
    ["metadata.name=ada", "metadata.name", equals("ada")],
    ["metadata.list=[1]", "metadata.list", equals("[1]")],
    ["metadata.year>=2020", "metadata.year", range({ gte: 2020 })],
    ["metadata.year > 2020", "metadata.year", range({ gt: 2020 })],
    ["metadata.year<=-1.5", "metadata.year", range({ lte: -1.5 })],
    ["metadata.year<1e3", "metadata.year", range({ lt: 1000 })],
  ];
  for (const [text, field, expected] of cases)
    assert.deepEqual(condition(text), [{ field, test: expected }], text);
  assert.equal(condition("author=ada", condition("title=x")).length, 2);
});

test("what is no condition is refused", () => {
  for (const text of ["", "author", "=x", "metadata.year>", "metadata.year>=abc", ">=3"]) {
    assert.throws(() => condition(text), { code: "commander.invalidArgument" }, text);
  }
});
