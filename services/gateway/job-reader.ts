import { encode } from "../../platform/encode.ts";
import { GetJobRequest, SchedulerServiceService } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { type Principal, visibleLibraries } from "./domain/principal.ts";
import type { SchedulerCall, SchedulerClient } from "./scheduler-client.ts";

/** The job as its caller may see it, an encoded GetJobResponse. @throws ArrwError NOT_FOUND also where it may not */
export function readJob(
  scheduler: Pick<SchedulerClient, "call">,
  jobId: string,
  call: SchedulerCall & { readonly principal: Principal },
): Promise<Buffer> {
  const request = encode(GetJobRequest, { jobId, visibleLibraries: visibleLibraries(call.principal) });
  return scheduler.call(SchedulerServiceService.getJob, request, call);
}
