import {
  type DescEnum,
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  DurationSchema,
  ListValueSchema,
  StructSchema,
  TimestampSchema,
  ValueSchema,
} from "@bufbuild/protobuf/wkt";
import { quoted, type Violations } from "../domain/validation/violations.ts";
import {
  enumWords,
  fieldsOf,
  isObject,
  isWhole,
  type JsonObject,
  type PlainType,
  plainTypeOf,
  type ValueType,
  wholeBounds,
} from "./json-shape.ts";

/**
 * JSON to an encoded message, checked on the way. It says what is wrong by the path as the client wrote it, all of it
 * at once up to a bound, which neither a JSON Schema's validator nor the messages' own reader does.
 */

const BYTES_OF_FLOAT = 4;
/** Of arrwdb.v1.Vector. */
const PACKED_FIELD = 2;
const MAX_FLOAT = 3.4028234663852886e38;
const DURATION = /^-?\d{1,12}(\.\d{1,9})?s$/;
const BASE64 = /^[A-Za-z0-9+/_-]*={0,2}$/;

/** The message's bytes; what is wrong with the JSON is added to `violations`, and then they are good for nothing. */
export function readMessage(type: DescMessage, json: JsonObject, violations: Violations): Uint8Array {
  const writer = new BinaryWriter();
  new Reader(writer, violations).fields(type, json, "");
  return writer.finish();
}

class Reader {
  readonly #writer: BinaryWriter;
  readonly #violations: Violations;

  constructor(writer: BinaryWriter, violations: Violations) {
    this.#writer = writer;
    this.#violations = violations;
  }

  fields(type: DescMessage, json: JsonObject, path: string): undefined {
    const known = fieldsOf(type);
    const chosen = new Map<string, string>();
    for (const [name, value] of Object.entries(json)) {
      if (this.#violations.full) return;
      const at = path === "" ? name.slice(0, 100) : `${path}.${name.slice(0, 100)}`;
      const field = known.get(name);
      if (!field) {
        this.#violations.add(at, unknownField(type, name));
        continue;
      }
      // Unset, as everywhere in JSON; only a Value can be null itself.
      if (value === null && !(field.message && plainTypeOf(field.message) === "value")) continue;
      const { oneof } = field;
      if (oneof && chosen.has(oneof.name)) {
        this.#violations.add(at, `instead of ${chosen.get(oneof.name)}; got both`);
      }
      if (oneof) chosen.set(oneof.name, name);
      this.#field(field, value, at);
    }
  }

  #field(field: DescField, value: unknown, path: string): undefined {
    switch (field.fieldKind) {
      case "list":
        return this.#list(field, value, path);
      case "map":
        return this.#map(field, value, path);
      default:
        return this.#single(field, field.number, value, path);
    }
  }

  #list(field: DescField & { fieldKind: "list" }, value: unknown, path: string): undefined {
    if (!Array.isArray(value)) return this.#refuse(path, "an array", value);
    for (let index = 0; index < value.length; index++) {
      if (this.#violations.full) return;
      this.#single(field, field.number, value[index], `${path}[${index}]`);
    }
  }

  #map(field: DescField & { fieldKind: "map" }, value: unknown, path: string): undefined {
    if (!isObject(value)) return this.#refuse(path, "an object", value);
    for (const [key, each] of Object.entries(value)) {
      if (this.#violations.full) return;
      this.#writer.tag(field.number, WireType.LengthDelimited).fork();
      this.#scalar(ScalarType.STRING, 1, key, path);
      this.#single(field, 2, each, `${path}[${quoted(key)}]`);
      this.#writer.join();
    }
  }

  #single(field: ValueType, number: number, value: unknown, path: string): undefined {
    if (field.message) return this.#message(field.message, number, value, path);
    if (field.enum) return this.#enum(field.enum, number, value, path);
    if (field.scalar !== undefined) this.#scalar(field.scalar, number, value, path);
  }

  #message(type: DescMessage, number: number, value: unknown, path: string): undefined {
    const plain = plainTypeOf(type);
    if (plain) return this.#plain(plain, number, value, path);
    if (!isObject(value)) return this.#refuse(path, "an object", value);
    this.#writer.tag(number, WireType.LengthDelimited).fork();
    this.fields(type, value, path);
    this.#writer.join();
  }

  #plain(type: PlainType, number: number, value: unknown, path: string): undefined {
    if (type === "vector") return this.#vector(number, value, path);
    const bytes = this.#wellKnown(type, value, path);
    if (bytes) this.#writer.tag(number, WireType.LengthDelimited).bytes(bytes);
  }

  #wellKnown(type: Exclude<PlainType, "vector">, value: unknown, path: string): Uint8Array | undefined {
    switch (type) {
      case "time":
        try {
          return toBinary(TimestampSchema, fromJson(TimestampSchema, value as JsonValue));
        } catch {
          return this.#refuse(path, 'a time as in RFC 3339, like "2025-01-31T12:00:00Z"', value);
        }
      case "duration":
        if (typeof value !== "string" || !DURATION.test(value)) break;
        try {
          return toBinary(DurationSchema, fromJson(DurationSchema, value));
        } catch {
          break;
        }
      case "object":
        if (!isObject(value)) return this.#refuse(path, "an object", value);
        if (!this.#isText(value, path)) return;
        return toBinary(StructSchema, fromJson(StructSchema, value as JsonValue));
      case "list":
        if (!Array.isArray(value)) return this.#refuse(path, "an array", value);
        if (!this.#isText(value, path)) return;
        return toBinary(ListValueSchema, fromJson(ListValueSchema, value));
      case "value":
        if (!this.#isText(value, path)) return;
        return toBinary(ValueSchema, fromJson(ValueSchema, value as JsonValue));
    }
    this.#refuse(path, 'a duration in seconds, like "1.5s"', value);
  }

  /** As packed: an array of numbers takes the least of memory so. */
  #vector(number: number, value: unknown, path: string): undefined {
    if (!Array.isArray(value)) return this.#refuse(path, "an array of numbers", value);
    if (value.length === 0) return this.#add(path, "at least one number; got 0");
    const packed = Buffer.allocUnsafe(value.length * BYTES_OF_FLOAT);
    for (const [index, each] of value.entries()) {
      if (typeof each !== "number") return this.#refuse(`${path}[${index}]`, "a number", each);
      packed.writeFloatLE(each, index * BYTES_OF_FLOAT);
    }
    this.#writer.tag(number, WireType.LengthDelimited).fork();
    this.#writer.tag(PACKED_FIELD, WireType.LengthDelimited).bytes(packed).join();
  }

  #enum(type: DescEnum, number: number, value: unknown, path: string): undefined {
    const words = enumWords(type);
    const found = [...words].find(([, word]) => word === value);
    if (found) this.#writer.tag(number, WireType.Varint).int32(found[0]);
    else this.#refuse(path, `one of ${[...words.values()].join(", ")}`, value);
  }

  #scalar(type: ScalarType, number: number, value: unknown, path: string): undefined {
    const writer = this.#writer;
    if (isWhole(type)) {
      const [min, max] = wholeBounds(type);
      const fits = Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
      if (!fits) return this.#refuse(path, `an integer ${min}..${max}`, value);
      writeWhole(writer, type, number, value as number);
      return;
    }
    switch (type) {
      case ScalarType.STRING:
        if (typeof value !== "string") return this.#refuse(path, "a string", value);
        if (this.#isText(value, path)) writer.tag(number, WireType.LengthDelimited).string(value);
        return;
      case ScalarType.BOOL:
        if (typeof value !== "boolean") return this.#refuse(path, "true or false", value);
        return void writer.tag(number, WireType.Varint).bool(value);
      case ScalarType.BYTES:
        if (typeof value !== "string" || !BASE64.test(value)) return this.#refuse(path, "base64", value);
        return void writer.tag(number, WireType.LengthDelimited).bytes(Buffer.from(value, "base64"));
      case ScalarType.FLOAT:
        if (typeof value !== "number" || !(Math.abs(value) <= MAX_FLOAT))
          return this.#refuse(path, "a number that float32 holds", value);
        return void writer.tag(number, WireType.Bit32).float(value);
      default:
        // Infinity is what a number beyond its bounds was read as.
        if (typeof value !== "number" || !Number.isFinite(value))
          return this.#refuse(path, "a number", value);
        return void writer.tag(number, WireType.Bit64).double(value);
    }
  }

  /** Half a character can be written in JSON, but not in UTF-8, which everything behind here is. */
  #isText(value: unknown, path: string): boolean {
    if (typeof value === "string") {
      if (!/\p{Surrogate}/u.test(value)) return true;
      this.#violations.add(path, "text of whole characters; got half a surrogate pair");
      return false;
    }
    if (Array.isArray(value)) return value.every((each, index) => this.#isText(each, `${path}[${index}]`));
    if (!isObject(value)) return true;
    return Object.entries(value).every(
      ([key, each]) => this.#isText(key, path) && this.#isText(each, `${path}.${key.slice(0, 100)}`),
    );
  }

  #refuse(path: string, wanted: string, got: unknown): undefined {
    return this.#add(path, `${wanted}; got ${shown(got)}`);
  }

  #add(path: string, description: string): undefined {
    this.#violations.add(path, description);
  }
}

function writeWhole(writer: BinaryWriter, type: ScalarType, number: number, value: number): undefined {
  switch (type) {
    case ScalarType.INT32:
      writer.tag(number, WireType.Varint).int32(value);
      return;
    case ScalarType.UINT32:
      writer.tag(number, WireType.Varint).uint32(value);
      return;
    case ScalarType.UINT64:
      writer.tag(number, WireType.Varint).uint64(value);
      return;
    case ScalarType.INT64:
      writer.tag(number, WireType.Varint).int64(value);
      return;
    default:
      throw new Error(`numbers of type ${ScalarType[type]} are not in the contract`);
  }
}

function unknownField(type: DescMessage, name: string): string {
  const meant = type.fields.find(({ localName }) => localName === name)?.name;
  return `unknown field${meant === undefined ? "" : `; it is written ${meant}`}`;
}

function shown(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
