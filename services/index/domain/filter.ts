import type { Condition, Filter, Range } from "../../../proto/gen/arrwdb/v1/document.ts";

/**
 * Filters over documents. A field that is missing or empty passes only `exists = false`; a test on a list holds if it
 * holds for one of its elements; strings are compared exactly, numbers by value.
 */

/** What a filter looks at. */
export interface FilterFields {
  readonly documentId: string;
  readonly title: string;
  readonly author: string;
  readonly tags: readonly string[];
  readonly sourceUrl: string;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
}

export type Predicate = (document: FilterFields) => boolean;

/** Field path relative to the filter ("all[0].field") and what is wrong. */
export interface FilterFault {
  readonly field: string;
  readonly description: string;
}

export const MAX_CONDITIONS = 32;
const MAX_IN = 1_000;
const MAX_FIELD_BYTES = 512;
const MAX_PATH_KEYS = 16;
const METADATA = "metadata.";
const FIELDS: Readonly<Record<string, (document: FilterFields) => unknown>> = {
  title: (document) => document.title,
  author: (document) => document.author,
  tags: (document) => document.tags,
  source_url: (document) => document.sourceUrl,
  document_id: (document) => document.documentId,
};

/** Everything that is wrong with a filter; none = `compileFilter` takes it. */
export function filterFaults(filter: Filter): FilterFault[] {
  const faults: FilterFault[] = [];
  if (filter.all.length > MAX_CONDITIONS)
    faults.push({
      field: "all",
      description: `at most ${MAX_CONDITIONS} conditions, got ${filter.all.length}`,
    });
  filter.all.slice(0, MAX_CONDITIONS).forEach((condition, i) => {
    const field = fieldFault(condition.field);
    if (field) faults.push({ field: `all[${i}].field`, description: field });
    const test = testFault(condition);
    if (test) faults.push({ field: `all[${i}].${test.field}`, description: test.description });
  });
  return faults;
}

function fieldFault(field: string): string | undefined {
  if (Object.hasOwn(FIELDS, field)) return undefined;
  const expected = `one of ${Object.keys(FIELDS).join(", ")} or metadata.<path>`;
  if (!field.startsWith(METADATA)) return `${expected}, got ${JSON.stringify(field.slice(0, 100))}`;
  if (new TextEncoder().encode(field).length > MAX_FIELD_BYTES) return `at most ${MAX_FIELD_BYTES} bytes`;
  const keys = field.slice(METADATA.length).split(".");
  if (keys.length > MAX_PATH_KEYS) return `at most ${MAX_PATH_KEYS} keys, got ${keys.length}`;
  return keys.includes("") ? `no key of the path may be empty, got ${JSON.stringify(field)}` : undefined;
}

function testFault({ field, test }: Condition): FilterFault | undefined {
  switch (test?.$case) {
    case undefined:
      return { field: "test", description: "equals, in, range or exists is needed" };
    case "equals":
      return isScalar(test.value)
        ? undefined
        : { field: "equals", description: "a string, number, bool or null" };
    case "in": {
      const values = test.value ?? [];
      if (values.length < 1 || values.length > MAX_IN)
        return { field: "in", description: `1..${MAX_IN} values, got ${values.length}` };
      return values.every(isScalar)
        ? undefined
        : { field: "in", description: "strings, numbers, bools or nulls" };
    }
    case "range":
      return rangeFault(field, test.value);
    case "exists":
      return undefined;
  }
}

function rangeFault(field: string, range: Range): FilterFault | undefined {
  if (!field.startsWith(METADATA)) return { field: "range", description: "metadata only" };
  const bounds = [range.gte, range.gt, range.lte, range.lt].filter((bound) => bound !== undefined);
  if (bounds.length === 0) return { field: "range", description: "at least one bound is needed" };
  return bounds.some(Number.isNaN) ? { field: "range", description: "no bound may be NaN" } : undefined;
}

function isScalar(value: unknown): boolean {
  return value === null || ["string", "number", "boolean"].includes(typeof value);
}

/** @param filter one without faults */
export function compileFilter(filter: Filter): Predicate {
  const tests = filter.all.map(compileCondition);
  return (document) => tests.every((test) => test(document));
}

/** Ids that alone can match; undefined = any may. */
export function namedDocuments(filter: Filter): string[] | undefined {
  for (const { field, test } of filter.all) {
    if (field !== "document_id") continue;
    if (test?.$case === "equals") return [test.value].filter((id) => typeof id === "string");
    if (test?.$case === "in") return [...new Set(test.value)].filter((id) => typeof id === "string");
  }
  return undefined;
}

function compileCondition({ field, test }: Condition): Predicate {
  const read = reader(field);
  switch (test?.$case) {
    case "equals": {
      const wanted: unknown = test.value;
      return (document) => some(read(document), (value) => value === wanted);
    }
    case "in": {
      const wanted = new Set<unknown>(test.value ?? []);
      return (document) => some(read(document), (value) => wanted.has(value));
    }
    case "range":
      return (document) =>
        some(read(document), (value) => typeof value === "number" && within(value, test.value));
    case "exists":
      return (document) => isThere(read(document)) === test.value;
    default:
      return () => true;
  }
}

function reader(field: string): (document: FilterFields) => unknown {
  const known = Object.hasOwn(FIELDS, field) ? FIELDS[field] : undefined;
  // An empty text is one that wasn't given.
  if (known) return (document) => (known(document) === "" ? undefined : known(document));
  const keys = field.slice(METADATA.length).split(".");
  return (document) => keys.reduce<unknown>(step, document.metadata);
}

function step(value: unknown, key: string): unknown {
  const inside =
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, key);
  return inside ? (value as Record<string, unknown>)[key] : undefined;
}

function some(value: unknown, holds: (value: unknown) => boolean): boolean {
  if (Array.isArray(value)) return value.some(holds);
  return value !== undefined && holds(value);
}

function isThere(value: unknown): boolean {
  if (value === undefined || value === null || value === "") return false;
  if (Array.isArray(value)) return value.length > 0;
  return typeof value !== "object" || Object.keys(value).length > 0;
}

function within(value: number, { gte, gt, lte, lt }: Range): boolean {
  return (
    (gte === undefined || value >= gte) &&
    (gt === undefined || value > gt) &&
    (lte === undefined || value <= lte) &&
    (lt === undefined || value < lt)
  );
}
