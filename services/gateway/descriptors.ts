import { readFileSync } from "node:fs";
import { createFileRegistry, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

/** The contract as it was compiled: what reflection gives out, and what the HTTP door reads and writes JSON by. */

const DESCRIPTORS = new URL("../../proto/gen/descriptors.binpb", import.meta.url);

/** All services and messages that the gateway serves. */
export function loadDescriptors(): FileRegistry {
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(DESCRIPTORS)));
}
