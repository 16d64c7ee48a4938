import { type DescFile, type FileRegistry, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { ErrorCode } from "../../platform/errors.ts";
import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import {
  type ServerReflectionRequest,
  type ServerReflectionResponse,
  ServerReflectionService,
} from "../../proto/gen/grpc/reflection/v1/reflection.ts";
import { ServerReflectionService as ServerReflectionAlphaService } from "../../proto/gen/grpc/reflection/v1alpha/reflection.ts";
import { loadDescriptors } from "./descriptors.ts";

/**
 * Server reflection, v1 and v1alpha (their messages are the same): the files as they were compiled, imports included.
 * The library for it merges files and drops what it doesn't know of them; these are exact.
 */

type Answer = ServerReflectionResponse["messageResponse"];

/** `services`: full names of those that are shown. */
export function reflectionServices(services: readonly string[]): readonly ImplementedService[] {
  const reflection = new Reflection(loadDescriptors(), services);
  async function* answers(
    requests: AsyncIterable<ServerReflectionRequest>,
  ): AsyncGenerator<ServerReflectionResponse> {
    for await (const request of requests) {
      const messageResponse = reflection.answer(request);
      yield { validHost: request.host, originalRequest: request, messageResponse };
    }
  }
  return [
    implement(ServerReflectionService, { serverReflectionInfo: answers }),
    implement(ServerReflectionAlphaService, { serverReflectionInfo: answers }),
  ];
}

class Reflection {
  readonly #registry: FileRegistry;
  readonly #services: readonly string[];
  readonly #encoded = new Map<DescFile, Buffer>();

  constructor(registry: FileRegistry, services: readonly string[]) {
    this.#registry = registry;
    this.#services = services;
  }

  answer({ messageRequest: asked }: ServerReflectionRequest): Answer {
    switch (asked?.$case) {
      case "listServices": {
        const service = this.#services.map((name) => ({ name }));
        return { $case: "listServicesResponse", value: { service } };
      }
      case "fileByFilename":
        return this.#files(this.#registry.getFile(asked.value), `file ${asked.value}`);
      case "fileContainingSymbol":
        return this.#files(this.#fileOf(asked.value), `symbol ${asked.value}`);
      case "allExtensionNumbersOfType":
        if (!this.#registry.getMessage(asked.value)) return unknown(`type ${asked.value}`);
        return {
          $case: "allExtensionNumbersResponse",
          value: { baseTypeName: asked.value, extensionNumber: [] },
        };
      case "fileContainingExtension":
        return unknown(`extension ${asked.value.extensionNumber} of ${asked.value.containingType}`);
      case undefined:
        return failure("INVALID_ARGUMENT", "the request asks for nothing");
    }
  }

  #files(file: DescFile | undefined, what: string): Answer {
    if (!file) return unknown(what);
    const needed = new Set([file]);
    for (const each of needed) for (const dependency of each.dependencies) needed.add(dependency);
    const fileDescriptorProto = [...needed].map((each) => this.#encode(each));
    return { $case: "fileDescriptorResponse", value: { fileDescriptorProto } };
  }

  #encode(file: DescFile): Buffer {
    let bytes = this.#encoded.get(file);
    if (!bytes) {
      bytes = Buffer.from(toBinary(FileDescriptorProtoSchema, file.proto));
      this.#encoded.set(file, bytes);
    }
    return bytes;
  }

  /** Of a type or service, or of a field, method or value in one. */
  #fileOf(symbol: string): DescFile | undefined {
    const found = this.#registry.get(symbol);
    if (found) return found.file;
    const dot = symbol.lastIndexOf(".");
    const member = symbol.slice(dot + 1);
    const owner = dot > 0 ? this.#registry.get(symbol.slice(0, dot)) : undefined;
    switch (owner?.kind) {
      case "message":
        return [...owner.fields, ...owner.oneofs].some(({ name }) => name === member)
          ? owner.file
          : undefined;
      case "service":
        return owner.methods.some(({ name }) => name === member) ? owner.file : undefined;
      case "enum":
        return owner.values.some(({ name }) => name === member) ? owner.file : undefined;
      default:
        return undefined;
    }
  }
}

function unknown(what: string): Answer {
  return failure("NOT_FOUND", `${what.slice(0, 1_000)} does not exist`);
}

function failure(code: ErrorCode, errorMessage: string): Answer {
  return { $case: "errorResponse", value: { errorCode: ErrorCode[code], errorMessage } };
}
