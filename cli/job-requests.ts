import { readFileSync } from "node:fs";
import {
  createFileRegistry,
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonValue,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import type { SubmitJobRequest } from "../client/index.ts";
import { SubmitJobRequest as Message } from "../proto/gen/arrwdb/v1/jobs.ts";
import { UsageError } from "./failure.ts";

/** SubmitJobRequests as JSON: the contract's own JSON, so that every field of every job type can be said. */

const DESCRIPTORS = new URL("../proto/gen/descriptors.binpb", import.meta.url);
let schema: DescMessage | undefined;

/** @throws UsageError "<where>: <what is wrong>" */
export function parseJobRequest(text: string, where: string): SubmitJobRequest {
  schema ??= requestSchema();
  try {
    const message = fromJson(schema, JSON.parse(text) as JsonValue);
    return Message.decode(toBinary(schema, message));
  } catch (error) {
    const reason = (error as Error).message.replace(/^cannot decode (message )?arrwdb\.v1\./, "");
    throw new UsageError(`${where}: ${reason}`, error);
  }
}

function requestSchema(): DescMessage {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(DESCRIPTORS)));
  const found = registry.getMessage("arrwdb.v1.SubmitJobRequest");
  if (!found) throw new Error("the contract has no SubmitJobRequest");
  return found;
}
