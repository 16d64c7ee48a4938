import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";
import type { FileDescriptorProto } from "@bufbuild/protobuf/wkt";
import {
  enumWords,
  isWhole,
  type PlainType,
  plainTypeOf,
  type ValueType,
  wholeBounds,
} from "./json-shape.ts";

/** JSON Schemas (2020-12) of the contract's messages, as the codec reads and writes them. */

export type JsonSchema = { readonly [keyword: string]: unknown };

/** What the proto files say in comments. */
export interface Comments {
  /** Of a message, field, enum or value, service or method: by its full name. */
  of(name: string): string | undefined;
}

const PLAIN: Readonly<Record<PlainType, JsonSchema>> = {
  time: { type: "string", format: "date-time", examples: ["2025-01-31T12:00:00Z"] },
  duration: { type: "string", pattern: "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$", examples: ["1.5s"] },
  object: { type: "object", additionalProperties: true },
  value: {},
  list: { type: "array" },
  vector: { type: "array", items: { type: "number" }, minItems: 1 },
};

export class Schemas {
  readonly #comments: Comments;
  readonly #components = new Map<string, JsonSchema>();

  constructor(comments: Comments) {
    this.#comments = comments;
  }

  /** Every message that a schema refers to, by name. */
  get components(): Readonly<Record<string, JsonSchema>> {
    return Object.fromEntries([...this.#components].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Adds a schema of its own. */
  define(name: string, schema: () => JsonSchema): JsonSchema {
    if (!this.#components.has(name)) {
      // A message may hold itself.
      this.#components.set(name, {});
      this.#components.set(name, schema());
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  message(type: DescMessage): JsonSchema {
    const plain = plainTypeOf(type);
    if (plain) return PLAIN[plain];
    return this.define(type.name, () => this.fields(type));
  }

  /** The message's fields as an object that has no others; `left` are left out. */
  fields(type: DescMessage, left: readonly string[] = []): JsonSchema {
    const fields = type.fields.filter(({ name }) => !left.includes(name));
    const comment = this.#comments.of(type.typeName);
    const description = comment?.startsWith("See ") ? undefined : comment;
    return {
      type: "object",
      ...(description ? { description } : {}),
      properties: Object.fromEntries(fields.map((field) => [field.name, this.field(field)])),
      additionalProperties: false,
    };
  }

  field(field: DescField): JsonSchema {
    const description = this.#comments.of(`${field.parent?.typeName}.${field.name}`);
    const schema = this.#shape(field);
    return description ? { description, ...schema } : schema;
  }

  comment(name: string): string | undefined {
    return this.#comments.of(name);
  }

  #shape(field: DescField): JsonSchema {
    switch (field.fieldKind) {
      case "list":
        return { type: "array", items: this.value(field) };
      case "map":
        return { type: "object", additionalProperties: this.value(field) };
      default: {
        const mayBeUnset = !field.oneof && (field.message !== undefined || field.proto.proto3Optional);
        return mayBeUnset ? nullable(this.value(field)) : this.value(field);
      }
    }
  }

  value(type: ValueType): JsonSchema {
    if (type.message) return this.message(type.message);
    if (type.enum) return { type: "string", enum: [...enumWords(type.enum).values()] };
    return scalarSchema(type.scalar ?? ScalarType.STRING);
  }
}

/** null is what it shows as when it isn't set, and may be written for that. */
function nullable(schema: JsonSchema): JsonSchema {
  if (Object.keys(schema).length === 0) return schema;
  if ("$ref" in schema) return { anyOf: [schema, { type: "null" }] };
  const { enum: words, type, ...others } = schema;
  return { type: [type, "null"], ...others, ...(Array.isArray(words) ? { enum: [...words, null] } : {}) };
}

function scalarSchema(type: ScalarType): JsonSchema {
  if (isWhole(type)) {
    const [, max] = wholeBounds(type);
    return { type: "integer", format: max > 2 ** 32 ? "int64" : "int32" };
  }
  switch (type) {
    case ScalarType.BOOL:
      return { type: "boolean" };
    case ScalarType.STRING:
      return { type: "string" };
    case ScalarType.BYTES:
      return { type: "string", contentEncoding: "base64" };
    default:
      return { type: "number" };
  }
}

/** Comments out of files that were compiled with their source info. */
export function commentsOf(files: readonly FileDescriptorProto[]): Comments {
  const comments = new Map<string, string>();
  for (const proto of files) {
    const names = new Map<string, string>();
    const add = (path: readonly number[], name: string) => names.set(path.join("."), name);
    const { package: scope } = proto;
    for (const [index, message] of proto.messageType.entries()) {
      add([4, index], `${scope}.${message.name}`);
      for (const [at, { name }] of message.field.entries())
        add([4, index, 2, at], `${scope}.${message.name}.${name}`);
    }
    for (const [index, service] of proto.service.entries()) {
      add([6, index], `${scope}.${service.name}`);
      for (const [at, { name }] of service.method.entries())
        add([6, index, 2, at], `${scope}.${service.name}.${name}`);
    }
    for (const { path, leadingComments } of proto.sourceCodeInfo?.location ?? []) {
      const name = names.get(path.join("."));
      if (name && leadingComments) comments.set(name, paragraphs(leadingComments));
    }
  }
  return { of: (name) => comments.get(name) };
}

/** Lines that were broken for the editor's sake become one; paragraphs and lists stay. */
function paragraphs(comment: string): string {
  return comment
    .split("\n")
    .map((line) => line.replace(/^ /, "").trimEnd())
    .join("\n")
    .trim()
    .replace(/(\S)\n(?! *\* |\n)\s*/g, "$1 ");
}
