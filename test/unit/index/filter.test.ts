import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Condition } from "../../../proto/gen/arrwdb/v1/document.ts";
import {
  compileFilter,
  type FilterFields,
  filterFaults,
  namedDocuments,
} from "../../../services/index/domain/filter.ts";

type Test = NonNullable<Condition["test"]>;

const document: FilterFields = {
  documentId: "d1",
  title: "On vectors",
  author: "",
  tags: ["red", "blue"],
  sourceUrl: "https://example.org/a",
  metadata: {
    year: 2020,
    draft: false,
    nothing: null,
    lang: { code: "en" },
    marks: [1, 5],
    empty: "",
    list: [],
  },
};

const passes = (field: string, check: Test, fields = document): boolean => {
  const filter = { all: [{ field, test: check }] };
  assert.deepEqual(filterFaults(filter), []);
  return compileFilter(filter)(fields);
};
const equals = (value: unknown): Test => ({ $case: "equals", value });
const exists = (value: boolean): Test => ({ $case: "exists", value });

describe("conditions", () => {
  test("equals compares strings, numbers, bools and null exactly", () => {
    assert.equal(passes("title", equals("On vectors")), true);
    assert.equal(passes("title", equals("on vectors")), false);
    assert.equal(passes("document_id", equals("d1")), true);
    assert.equal(passes("source_url", equals("https://example.org/a")), true);
    assert.equal(passes("metadata.year", equals(2020)), true);
    assert.equal(passes("metadata.year", equals("2020")), false);
    assert.equal(passes("metadata.draft", equals(false)), true);
    assert.equal(passes("metadata.nothing", equals(null)), true);
    assert.equal(passes("metadata.lang.code", equals("en")), true);
  });

  test("a test on a list holds if it holds for one of its elements", () => {
    assert.equal(passes("tags", equals("blue")), true);
    assert.equal(passes("tags", equals("green")), false);
    assert.equal(passes("tags", { $case: "in", value: ["green", "red"] }), true);
    assert.equal(passes("metadata.marks", { $case: "range", value: { gt: 4 } }), true);
    assert.equal(passes("metadata.marks", { $case: "range", value: { gt: 5 } }), false);
  });

  test("all bounds of a range hold", () => {
    assert.equal(passes("metadata.year", { $case: "range", value: { gte: 2020, lt: 2021 } }), true);
    assert.equal(passes("metadata.year", { $case: "range", value: { gt: 2020 } }), false);
    assert.equal(passes("metadata.year", { $case: "range", value: { lte: 2019 } }), false);
    assert.equal(passes("metadata.lang.code", { $case: "range", value: { gt: 0 } }), false);
  });

  test("what is missing or empty passes exists = false alone", () => {
    for (const field of [
      "author",
      "metadata.missing",
      "metadata.lang.missing",
      "metadata.empty",
      "metadata.list",
    ]) {
      assert.equal(passes(field, exists(false)), true, field);
      assert.equal(passes(field, exists(true)), false, field);
    }
    assert.equal(passes("author", equals("")), false);
    assert.equal(passes("metadata.missing", equals(null)), false);
    assert.equal(passes("tags", exists(true)), true);
    assert.equal(passes("metadata.lang", exists(true)), true);
    assert.equal(passes("metadata.x", exists(true), { ...document, metadata: undefined }), false);
  });

  test("a path reaches own keys alone", () => {
    assert.equal(passes("metadata.constructor", exists(true)), false);
    assert.equal(passes("metadata.lang.toString", exists(true)), false);
  });
});

test("all conditions hold, and none means every document", () => {
  const both = {
    all: [
      { field: "title", test: equals("On vectors") },
      { field: "tags", test: equals("green") },
    ],
  };
  assert.equal(compileFilter(both)(document), false);
  assert.equal(compileFilter({ all: [] })(document), true);
});

test("faults name the place and the bound", () => {
  const faultsOf = (field: string, check: Condition["test"]): string[] =>
    filterFaults({ all: [{ field, test: check }] }).map((fault) => fault.field);
  assert.deepEqual(faultsOf("colour", exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf("constructor", exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf("metadata.", exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf("metadata.a..b", exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf(`metadata.${"a.".repeat(16)}a`, exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf(`metadata.${"a".repeat(600)}`, exists(true)), ["all[0].field"]);
  assert.deepEqual(faultsOf("title", undefined), ["all[0].test"]);
  assert.deepEqual(faultsOf("title", equals({ a: 1 })), ["all[0].equals"]);
  assert.deepEqual(faultsOf("title", equals(undefined)), ["all[0].equals"]);
  assert.deepEqual(faultsOf("title", { $case: "in", value: [] }), ["all[0].in"]);
  assert.deepEqual(faultsOf("title", { $case: "in", value: [[]] }), ["all[0].in"]);
  assert.deepEqual(faultsOf("title", { $case: "range", value: { gt: 1 } }), ["all[0].range"]);
  assert.deepEqual(faultsOf("metadata.a", { $case: "range", value: {} }), ["all[0].range"]);
  assert.deepEqual(faultsOf("metadata.a", { $case: "range", value: { gt: Number.NaN } }), ["all[0].range"]);
  const many = Array.from({ length: 33 }, () => ({ field: "title", test: exists(true) }));
  assert.deepEqual(
    filterFaults({ all: many }).map(({ field }) => field),
    ["all"],
  );
});

test("documents named by id are told without a scan", () => {
  assert.deepEqual(namedDocuments({ all: [{ field: "document_id", test: equals("a") }] }), ["a"]);
  assert.deepEqual(
    namedDocuments({ all: [{ field: "document_id", test: { $case: "in", value: ["a", 1, "b", "a"] } }] }),
    ["a", "b"],
  );
  assert.equal(namedDocuments({ all: [{ field: "title", test: equals("a") }] }), undefined);
});

test("a filter without faults never throws, whatever the document", () => {
  const value = fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.constant(null));
  const check: fc.Arbitrary<Test> = fc.oneof(
    value.map((each) => equals(each)),
    fc.array(value, { minLength: 1, maxLength: 5 }).map((each): Test => ({ $case: "in", value: each })),
    fc.record({ gt: fc.double({ noNaN: true }) }).map((range): Test => ({ $case: "range", value: range })),
    fc.boolean().map(exists),
  );
  const field = fc.constantFrom(
    "title",
    "tags",
    "document_id",
    "metadata.a",
    "metadata.a.b",
    "metadata.__proto__",
  );
  fc.assert(
    fc.property(
      fc.array(fc.record({ field, test: check }), { maxLength: 4 }),
      fc.dictionary(fc.constantFrom("a", "b", "__proto__"), fc.jsonValue()),
      (all, metadata) => {
        if (filterFaults({ all }).length > 0) return;
        const result = compileFilter({ all })({ ...document, metadata });
        assert.equal(typeof result, "boolean");
        const each = all.map((condition) => compileFilter({ all: [condition] })({ ...document, metadata }));
        assert.equal(result, each.every(Boolean));
      },
    ),
  );
});
