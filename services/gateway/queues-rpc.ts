import { encode } from "../../platform/encode.ts";
import { invalidArgument, notFound } from "../../platform/errors.ts";
import type { Handlers } from "../../platform/grpc/server.ts";
import {
  ChangeQueueRequest,
  DrainWorkerRequest as SchedulerDrainWorker,
  SchedulerServiceService,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";
import { isWorkerId } from "./domain/validation/ids.ts";
import { checkQueue, checkQueueLimit } from "./domain/validation/queues.ts";
import type { Violation } from "./domain/validation/violations.ts";
import type { GatewayContext } from "./guard.ts";
import type { SchedulerClient } from "./scheduler-client.ts";

/** arrwdb.v1.QueueService. All its calls may be repeated: they say what shall be, not what to change. */
export function queueHandlers(
  scheduler: SchedulerClient,
): Handlers<typeof QueueServiceService, GatewayContext> {
  const change = (queue: ChangeQueueRequest, violations: readonly Violation[], context: GatewayContext) => {
    if (violations.length > 0) throw invalidArgument(violations);
    return scheduler.call(SchedulerServiceService.changeQueue, encode(ChangeQueueRequest, queue), context);
  };
  return {
    pauseQueue: async (request, context) =>
      change({ type: request.type, paused: true }, checkQueue(request), context),
    resumeQueue: async (request, context) =>
      change({ type: request.type, paused: false }, checkQueue(request), context),
    setQueueLimit: async (request, context) =>
      change({ type: request.type, maxRunning: request.maxRunning }, checkQueueLimit(request), context),
    listWorkers: (_request, context) =>
      scheduler.call(SchedulerServiceService.listWorkers, Buffer.alloc(0), context),
    drainWorker: async ({ workerId }, context) => {
      if (!isWorkerId(workerId)) throw notFound("worker", workerId);
      const request = encode(SchedulerDrainWorker, { workerId });
      return scheduler.call(SchedulerServiceService.drainWorker, request, context);
    },
  };
}
