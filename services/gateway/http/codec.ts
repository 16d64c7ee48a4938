import type { DescEnum, DescMessage, FileRegistry } from "@bufbuild/protobuf";
import { invalidArgument } from "../../../platform/errors.ts";
import { loadDescriptors } from "../descriptors.ts";
import { Violations } from "../domain/validation/violations.ts";
import { readMessage } from "./json-reader.ts";
import type { JsonObject } from "./json-shape.ts";
import { writeMessage } from "./json-writer.ts";

/**
 * JSON and the contract's messages, by their descriptors: the proto files are the one schema. Fields are named as
 * there; 64-bit integers are JSON numbers; enums are words ("pending"); times are RFC 3339 in UTC, durations "1.5s";
 * metadata and values are plain; a Vector is an array of numbers. null = not set.
 */
export class JsonCodec {
  readonly registry: FileRegistry;

  constructor(registry: FileRegistry = loadDescriptors()) {
    this.registry = registry;
  }

  /** By full name: "arrwdb.v1.Document". @throws Error when the contract has none of that name */
  messageType(name: string): DescMessage {
    const type = this.registry.getMessage(name);
    if (!type) throw new Error(`the contract has no message ${name}`);
    return type;
  }

  /** By full name, as `messageType`. */
  enumType(name: string): DescEnum {
    const type = this.registry.getEnum(name);
    if (!type) throw new Error(`the contract has no enum ${name}`);
    return type;
  }

  /** @throws ArrwError INVALID_ARGUMENT with all violations, at most 100 */
  encode(type: DescMessage | string, json: JsonObject): Buffer {
    const violations = new Violations();
    const bytes = readMessage(typeof type === "string" ? this.messageType(type) : type, json, violations);
    if (violations.list.length > 0) throw invalidArgument(violations.list);
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  decode(type: DescMessage | string, bytes: Uint8Array): JsonObject {
    return writeMessage(typeof type === "string" ? this.messageType(type) : type, bytes);
  }
}
