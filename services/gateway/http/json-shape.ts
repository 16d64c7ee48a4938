import { type DescEnum, type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** How the contract's messages look as JSON: fields as the proto names them, with a few types of their own. */

export type JsonObject = { readonly [name: string]: unknown };

/** Messages that are no JSON object of their fields. */
export type PlainType = "time" | "duration" | "object" | "value" | "list" | "vector";

const PLAIN_TYPES: Readonly<Record<string, PlainType>> = {
  "google.protobuf.Timestamp": "time",
  "google.protobuf.Duration": "duration",
  "google.protobuf.Struct": "object",
  "google.protobuf.Value": "value",
  "google.protobuf.ListValue": "list",
  "arrwdb.v1.Vector": "vector",
};

export function plainTypeOf({ typeName }: DescMessage): PlainType | undefined {
  return PLAIN_TYPES[typeName];
}

/** JOB_STATUS_PENDING as "pending". */
export function enumWord(type: DescEnum, name: string): string {
  const { sharedPrefix = "" } = type;
  return name.toLowerCase().slice(sharedPrefix.length);
}

/** The words of an enum by number; the one that stands for nothing is left out. */
export function enumWords(type: DescEnum): ReadonlyMap<number, string> {
  return new Map(
    type.values
      .filter(({ number }) => number !== 0)
      .map(({ number, name }) => [number, enumWord(type, name)]),
  );
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const WHOLE_NUMBERS: ReadonlySet<ScalarType> = new Set([
  ScalarType.INT32,
  ScalarType.SINT32,
  ScalarType.SFIXED32,
  ScalarType.UINT32,
  ScalarType.FIXED32,
  ScalarType.INT64,
  ScalarType.SINT64,
  ScalarType.SFIXED64,
  ScalarType.UINT64,
  ScalarType.FIXED64,
]);

export function isWhole(type: ScalarType): boolean {
  return WHOLE_NUMBERS.has(type);
}

/** Bounds of what a field of the type takes; 64 bits: what a JSON number holds exactly. */
export function wholeBounds(type: ScalarType): readonly [min: number, max: number] {
  switch (type) {
    case ScalarType.INT32:
    case ScalarType.SINT32:
    case ScalarType.SFIXED32:
      return [-(2 ** 31), 2 ** 31 - 1];
    case ScalarType.UINT32:
    case ScalarType.FIXED32:
      return [0, 2 ** 32 - 1];
    case ScalarType.UINT64:
    case ScalarType.FIXED64:
      return [0, Number.MAX_SAFE_INTEGER];
    default:
      return [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER];
  }
}

const FIELDS = new WeakMap<DescMessage, ReadonlyMap<string, DescField>>();

export function fieldsOf(type: DescMessage): ReadonlyMap<string, DescField> {
  let fields = FIELDS.get(type);
  if (!fields) {
    fields = new Map(type.fields.map((field) => [field.name, field]));
    FIELDS.set(type, fields);
  }
  return fields;
}

/** What the values of a field, an element of a list or a value of a map are: one of the three. */
export interface ValueType {
  readonly message?: DescMessage | undefined;
  readonly enum?: DescEnum | undefined;
  readonly scalar?: ScalarType | undefined;
}
