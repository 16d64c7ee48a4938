import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { invalidArgument, toArrwError, type Violation } from "../../../platform/errors.ts";
import { quoted } from "../domain/validation/violations.ts";
import { withPaths } from "./errors.ts";
import { fieldsOf, isWhole, type JsonObject } from "./json-shape.ts";

/** Query strings: each parameter is a field of the request's message, and is read as that field's type. */

export interface Parameter {
  readonly name: string;
  /** Path in the request: "filter.statuses". Default: the name. */
  readonly field?: string;
  /** true or false, for the route itself: no field of the request. */
  readonly flag?: boolean;
  /** Instead of the field's own comment. */
  readonly about?: string;
  /** What the words of a list stand for. */
  readonly read?: (words: readonly unknown[]) => readonly unknown[];
}

interface Known extends Parameter {
  readonly path: readonly string[];
  /** undefined: a flag. */
  readonly type: DescField | undefined;
}

export class Parameters {
  readonly #known: ReadonlyMap<string, Known>;

  /** @throws Error when a parameter's field is not in the message */
  constructor(message: DescMessage, parameters: readonly Parameter[]) {
    this.#known = new Map(
      parameters.map((parameter) => {
        const path = (parameter.field ?? parameter.name).split(".");
        const type = parameter.flag ? undefined : fieldAt(message, path);
        return [parameter.name, { ...parameter, path, type }];
      }),
    );
  }

  /** With the fields they stand for. */
  get all(): Iterable<Parameter & { readonly type: DescField | undefined }> {
    return this.#known.values();
  }

  /**
   * The request's JSON, as far as the query says it; a parameter without a value is not given.
   * @throws ArrwError INVALID_ARGUMENT: unknown ones if `strict`, one that is given twice and is no list
   */
  read(query: unknown, { strict = true } = {}): JsonObject {
    const json: Record<string, unknown> = {};
    const violations: Violation[] = [];
    for (const [name, given] of Object.entries(query as Record<string, string | string[]>)) {
      const known = this.#known.get(name);
      if (!known) {
        if (strict) violations.push({ field: name.slice(0, 100), description: this.#unknown() });
        continue;
      }
      const texts = [given].flat().filter((text) => text !== "");
      if (texts.length === 0) continue;
      const { type } = known;
      if (type?.fieldKind === "list") addWords(json, known, type, texts);
      else if (type?.fieldKind === "map") addPairs(json, known, texts, violations);
      else if (texts.length > 1) violations.push({ field: name, description: `once; got ${texts.length}` });
      else if (type) set(json, known.path, valueOfText(type, texts[0] ?? ""));
      else if (texts[0] === "true" || texts[0] === "false") json[name] = texts[0] === "true";
      else violations.push({ field: name, description: `true or false; got ${quoted(texts[0] ?? "")}` });
    }
    if (violations.length > 0) throw invalidArgument(violations);
    return json;
  }

  /** The error with fields named as the parameters that they came from. */
  named(error: unknown): unknown {
    return withPaths(toArrwError(error), (path) => this.shown(path));
  }

  shown(path: string): string {
    for (const { name, field = name } of this.#known.values()) {
      if (path === field || path.startsWith(`${field}[`)) return name;
    }
    return path;
  }

  #unknown(): string {
    const names = [...this.#known.keys()].join(", ");
    return `unknown parameter; ${names === "" ? "there are none" : `there are ${names}`}`;
  }
}

function fieldAt(message: DescMessage, path: readonly string[]): DescField {
  const [name = "", ...rest] = path;
  const field = fieldsOf(message).get(name);
  if (!field) throw new Error(`${message.typeName} has no field ${name}`);
  if (rest.length === 0) return field;
  if (!field.message) throw new Error(`${message.typeName}.${name} has no fields`);
  return fieldAt(field.message, rest);
}

function addWords(
  json: Record<string, unknown>,
  { path, read }: Known,
  type: DescField,
  texts: readonly string[],
): void {
  const words = texts.flatMap((text) => text.split(",")).filter((word) => word !== "");
  const values = words.map((word) => valueOfText(type, word));
  const before = (get(json, path) as readonly unknown[] | undefined) ?? [];
  const added = (read?.(values) ?? values).filter((value) => !before.includes(value));
  set(json, path, [...before, ...added]);
}

function addPairs(
  json: Record<string, unknown>,
  { name, path }: Known,
  texts: readonly string[],
  violations: Violation[],
): void {
  const pairs = new Map<string, string>();
  for (const text of texts) {
    const colon = text.indexOf(":");
    const key = text.slice(0, colon);
    if (colon < 1) violations.push({ field: name, description: `key:value; got ${quoted(text)}` });
    else if (pairs.has(key))
      violations.push({ field: name, description: `the key ${quoted(key)} once; got 2` });
    else pairs.set(key, text.slice(colon + 1));
  }
  set(json, path, Object.fromEntries(pairs));
}

function get(json: Record<string, unknown>, path: readonly string[]): unknown {
  const [name = "", ...rest] = path;
  const value = json[name];
  return rest.length === 0 || value === undefined ? value : get(value as Record<string, unknown>, rest);
}

function set(json: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [name = "", ...rest] = path;
  if (rest.length === 0) {
    json[name] = value;
    return;
  }
  json[name] ??= {};
  set(json[name] as Record<string, unknown>, rest, value);
}

/** What can't be read as the type stays text, which is refused with the other violations. */
function valueOfText(type: DescField, text: string): unknown {
  const { scalar } = type;
  if (scalar === ScalarType.BOOL && (text === "true" || text === "false")) return text === "true";
  if (scalar !== undefined && isWhole(scalar) && /^-?\d{1,16}$/.test(text)) return Number(text);
  const isReal = scalar === ScalarType.DOUBLE || scalar === ScalarType.FLOAT;
  if (isReal && /^-?\d{1,16}(\.\d{1,16})?$/.test(text)) return Number(text);
  return text;
}
