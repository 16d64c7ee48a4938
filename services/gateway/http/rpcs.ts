import type { DescMethod, FileRegistry } from "@bufbuild/protobuf";
import type { CallContext, MethodShape } from "../../../platform/grpc/server.ts";
import { LibraryServiceService } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../../proto/gen/arrwdb/v1/queues.ts";
import type { Api } from "../api.ts";
import { ReceivingJobService } from "../received.ts";

/** The unary methods of the API by name, from encoded request to encoded response: what gRPC calls, called as gRPC does. */

export interface Rpc {
  readonly type: DescMethod;
  call(request: Buffer, context: CallContext): Promise<Uint8Array>;
}

const PACKAGE = "arrwdb.v1";

/** "JobService.GetJob", ... */
export function unaryRpcs(api: Api, registry: FileRegistry): ReadonlyMap<string, Rpc> {
  const services = [
    ["JobService", ReceivingJobService, api.jobs],
    ["LibraryService", LibraryServiceService, api.libraries],
    ["QueueService", QueueServiceService, api.queues],
  ] as const;
  const rpcs = new Map<string, Rpc>();
  for (const [name, shapes, handlers] of services) {
    for (const type of registry.getService(`${PACKAGE}.${name}`)?.methods ?? []) {
      if (type.methodKind !== "unary") continue;
      const shape = (shapes as Readonly<Record<string, MethodShape>>)[type.localName];
      const handler = (handlers as unknown as Readonly<Record<string, Handler>>)[type.localName];
      if (!shape || !handler) throw new Error(`nothing answers ${name}.${type.name}`);
      rpcs.set(`${name}.${type.name}`, { type, call: calling(shape, handler) });
    }
  }
  return rpcs;
}

type Handler = (request: unknown, context: CallContext) => Promise<unknown>;

function calling(shape: MethodShape, handler: Handler): Rpc["call"] {
  return async (request, context) => {
    const { signal } = context;
    let onAbort: (() => void) | undefined;
    const aborted = new Promise<never>((_, reject) => {
      onAbort = () => reject(signal.reason);
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
    });
    try {
      // As over gRPC the client is answered in time, also by a handler that looks at neither signal nor deadline.
      const response = await Promise.race([handler(shape.requestDeserialize(request), context), aborted]);
      return Buffer.isBuffer(response) ? response : shape.responseSerialize(response);
    } finally {
      if (onAbort) signal.removeEventListener("abort", onAbort);
    }
  };
}
