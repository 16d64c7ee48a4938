import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { ScalarType } from "@bufbuild/protobuf";
import { invalidArgument, toArrwError, type Violation } from "../../../platform/errors.ts";
import { quoted, Violations } from "../domain/validation/violations.ts";
import { withPaths } from "./errors.ts";
import { readMessage } from "./json-reader.ts";
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

export interface ReadOptions {
  /** The request's fields that are elsewhere. They are looked at only when the query is refused: all that is wrong is said. */
  readonly others?: JsonObject;
  /** A path in `others` as its client wrote it. */
  readonly shown?: (path: string) => string;
  /** Parameters that the route reads itself: they are passed over. */
  readonly own?: readonly string[];
}

export class Parameters {
  readonly #message: DescMessage;
  readonly #known: ReadonlyMap<string, Known>;

  /** @throws Error when a parameter's field is not in the message */
  constructor(message: DescMessage, parameters: readonly Parameter[]) {
    this.#message = message;
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
   * @throws ArrwError INVALID_ARGUMENT: unknown ones, one that is given twice and is no list; with all else that is no
   * value of its field
   */
  read(query: unknown, options: ReadOptions = {}): JsonObject {
    const { own = [] } = options;
    const json: Record<string, unknown> = {};
    const flags: Record<string, boolean> = {};
    const violations: Violation[] = [];
    for (const [name, given] of Object.entries(query as Record<string, string | string[]>)) {
      const known = this.#known.get(name);
      if (!known) {
        if (own.includes(name)) continue;
        violations.push({ field: name.slice(0, 100), description: this.#unknown(own) });
        continue;
      }
      const texts = [given].flat().filter((text) => text !== "");
      if (texts.length === 0) continue;
      const { type } = known;
      if (type?.fieldKind === "list") addWords(json, known, type, texts);
      else if (type?.fieldKind === "map") addPairs(json, known, texts, violations);
      else if (texts.length > 1) violations.push({ field: name, description: `once; got ${texts.length}` });
      else if (type) set(json, known.path, valueOfText(type, texts[0] ?? ""));
      else if (texts[0] === "true" || texts[0] === "false") flags[name] = texts[0] === "true";
      else violations.push({ field: name, description: `true or false; got ${quoted(texts[0] ?? "")}` });
    }
    if (violations.length > 0) throw invalidArgument([...violations, ...this.#alsoWrong(json, options)]);
    return { ...json, ...flags };
  }

  /** What reading the request would refuse, had the query been right so far. */
  #alsoWrong(json: JsonObject, { others = {}, shown = (path) => path }: ReadOptions): readonly Violation[] {
    const found = new Violations();
    readMessage(this.#message, { ...others, ...json }, found);
    return found.list.map(({ field, description }) => ({ field: this.shown(shown(field)), description }));
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

  #unknown(own: readonly string[]): string {
    const names = [...this.#known.keys(), ...own].join(", ");
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
