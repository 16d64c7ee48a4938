import type { Condition, Filter, Range } from "../../../../proto/gen/arrwdb/v1/document.ts";
import { quoted, type Violations } from "./violations.ts";

const MAX_CONDITIONS = 32;
const MAX_IN_VALUES = 1_000;
const MAX_FIELD_BYTES = 512;
const MAX_PATH_KEYS = 16;
const MAX_VALUE_BYTES = 4_096;
const FIELDS: readonly string[] = ["title", "author", "tags", "source_url", "document_id"];
const METADATA = "metadata.";

export function checkFilter(path: string, filter: Filter | undefined, violations: Violations): void {
  if (!filter) return;
  violations.maxItems(`${path}.all`, filter.all.length, MAX_CONDITIONS);
  for (const [index, condition] of filter.all.slice(0, MAX_CONDITIONS).entries()) {
    checkCondition(`${path}.all[${index}]`, condition, violations);
  }
}

function checkCondition(path: string, condition: Condition, violations: Violations): void {
  checkField(`${path}.field`, condition.field, violations);
  const { test } = condition;
  switch (test?.$case) {
    case undefined:
      violations.add(path, "one of equals, in, range and exists is needed; got none");
      return;
    case "equals":
      checkValue(`${path}.equals`, test.value, violations);
      return;
    case "in": {
      const values: readonly unknown[] = test.value ?? [];
      const { length } = values;
      if (length < 1 || length > MAX_IN_VALUES)
        violations.add(`${path}.in`, `1..1,000 values; got ${length}`);
      for (const [index, value] of values.slice(0, MAX_IN_VALUES).entries()) {
        if (violations.full) return;
        checkValue(`${path}.in[${index}]`, value, violations);
      }
      return;
    }
    case "range":
      if (!condition.field.startsWith(METADATA)) {
        violations.add(`${path}.range`, `is for fields of metadata; got ${quoted(condition.field)}`);
      }
      checkRange(`${path}.range`, test.value, violations);
      return;
    case "exists":
      return;
  }
}

function checkField(path: string, field: string, violations: Violations): void {
  violations.maxBytes(path, field, MAX_FIELD_BYTES);
  if (FIELDS.includes(field)) return;
  const keys = field.startsWith(METADATA) ? field.slice(METADATA.length).split(".") : undefined;
  if (!keys) {
    violations.add(path, `one of ${FIELDS.join(", ")} or metadata.<path>; got ${quoted(field)}`);
  } else if (keys.length > MAX_PATH_KEYS || keys.includes("")) {
    violations.add(path, `metadata.<path> has 1..${MAX_PATH_KEYS} keys, none empty; got ${quoted(field)}`);
  }
}

function checkValue(path: string, value: unknown, violations: Violations): void {
  if (value === null || typeof value === "boolean") return;
  if (typeof value === "string") {
    violations.maxBytes(path, value, MAX_VALUE_BYTES);
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) violations.add(path, `a finite number; got ${value}`);
  } else {
    const got = value === undefined ? "nothing" : Array.isArray(value) ? "a list" : "an object";
    violations.add(path, `a string, number, bool or null; got ${got}`);
  }
}

function checkRange(path: string, range: Range, violations: Violations): void {
  const bounds = Object.entries({ gte: range.gte, gt: range.gt, lte: range.lte, lt: range.lt });
  const set = bounds.filter(([, bound]) => bound !== undefined);
  if (set.length === 0) violations.add(path, "one of gte, gt, lte and lt is needed; got none");
  for (const [name, bound] of set) {
    if (Number.isNaN(bound)) violations.add(`${path}.${name}`, "a number; got NaN");
  }
}
