import { type DescMessage, fromBinary, type JsonValue, ScalarType, toJson } from "@bufbuild/protobuf";
import { type ReflectMessage, reflect } from "@bufbuild/protobuf/reflect";
import { enumWord, isWhole, type JsonObject, plainTypeOf, type ValueType } from "./json-shape.ts";

/** An encoded message to JSON. Every field is there: null stands for a message or an optional field that isn't set. */

const MAX_FLOAT_DIGITS = 9;

export function writeMessage(type: DescMessage, bytes: Uint8Array): JsonObject {
  return fieldsOf(reflect(type, fromBinary(type, bytes)));
}

function fieldsOf(message: ReflectMessage): JsonObject {
  const json: Record<string, unknown> = {};
  for (const field of message.fields) {
    const value: unknown = message.get(field);
    switch (field.fieldKind) {
      case "list":
        json[field.name] = Array.from(value as Iterable<unknown>, (each) => jsonOf(field, each));
        break;
      case "map":
        json[field.name] = Object.fromEntries(
          Array.from(value as Iterable<[string, unknown]>, ([key, each]) => [key, jsonOf(field, each)]),
        );
        break;
      default: {
        // Of a oneof only what is set is shown: the name says which it is.
        const isSet = message.isSet(field);
        if (field.oneof && !isSet) break;
        const hasDefault = field.fieldKind !== "message" && field.proto.proto3Optional !== true;
        json[field.name] = isSet || hasDefault ? jsonOf(field, value) : null;
      }
    }
  }
  return json;
}

function jsonOf(field: ValueType, value: unknown): unknown {
  if (field.message) return messageOf(value as ReflectMessage);
  if (field.enum) {
    const known = field.enum.value[value as number];
    return known ? enumWord(field.enum, known.name) : value;
  }
  const { scalar } = field;
  if (scalar === ScalarType.BYTES) return Buffer.from(value as Uint8Array).toString("base64");
  if (scalar === ScalarType.FLOAT) return shortFloat(value as number);
  return scalar !== undefined && isWhole(scalar) ? Number(value) : value;
}

function messageOf(message: ReflectMessage): unknown {
  switch (plainTypeOf(message.desc)) {
    case undefined:
      return fieldsOf(message);
    case "vector":
      return vectorOf(message);
    case "duration":
      return String(plain(message))
        .replace(/(\.\d*?)0+s$/, "$1s")
        .replace(/\.s$/, "s");
    default:
      return plain(message);
  }
}

function plain({ desc, message }: ReflectMessage): JsonValue {
  return toJson(desc, message) as JsonValue;
}

function vectorOf(message: ReflectMessage): readonly number[] {
  const { values, packed } = message.desc.field;
  if (!values || !packed) throw new Error("a vector has values and packed");
  const bytes = message.get(packed) as Uint8Array;
  if (bytes.length === 0) return Array.from(message.get(values) as Iterable<number>, shortFloat);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length >> 2 }, (_, index) =>
    shortFloat(view.getFloat32(index * 4, true)),
  );
}

/** With the digits that the float32 needs: 0.1, not 0.10000000149011612. */
function shortFloat(value: number): number {
  for (let digits = 7; digits < MAX_FLOAT_DIGITS; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(MAX_FLOAT_DIGITS));
}
