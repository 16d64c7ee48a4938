import type { Handlers } from "../../platform/grpc/server.ts";
import type { LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";
import type { ReceivingJobService } from "./received.ts";

/** The public API as both doors call it, gRPC and HTTP: guarded handlers. */
export interface Api {
  readonly jobs: Handlers<typeof ReceivingJobService>;
  readonly libraries: Handlers<typeof LibraryServiceService>;
  readonly queues: Handlers<typeof QueueServiceService>;
}
