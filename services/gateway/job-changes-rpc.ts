import { setTimeout as delay } from "node:timers/promises";
import { encode } from "../../platform/encode.ts";
import { ArrwError, invalidArgument, notFound, toArrwError, unavailable } from "../../platform/errors.ts";
import {
  type ChangeJobsRequest,
  CancelJobRequest as SchedulerCancelJob,
  ChangeJobsRequest as SchedulerChangeJobs,
  DeleteJobRequest as SchedulerDeleteJob,
  GetJobResponse as SchedulerGetJobResponse,
  RetryJobRequest as SchedulerRetryJob,
  SchedulerServiceService,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import {
  type CancelJobRequest,
  type CancelJobsRequest,
  type DeleteJobRequest,
  type DeleteJobsRequest,
  type Job,
  JobStatus,
  type RetryJobRequest,
  type RetryJobsRequest,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { visibleLibraries } from "./domain/principal.ts";
import {
  changeLimitOf,
  checkCancelJob,
  checkJobsChange,
  checkRetryJob,
  type JobsChange,
} from "./domain/validation/changes.ts";
import { isJobId } from "./domain/validation/ids.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
import { readJob } from "./job-reader.ts";
import { withLibraryId } from "./library-filter.ts";
import type { SchedulerCall, SchedulerClient } from "./scheduler-client.ts";

/**
 * JobService's methods that change jobs which are there. A call to a scheduler that went away may have been carried
 * out, and is repeated: a cancel finds its job cancelled, a deletion finds none, a retry says which end it follows, so
 * that it does not take twice.
 */
export function jobChanges(scheduler: SchedulerClient, index: IndexClient) {
  const change = (request: JobsChange, what: ChangeJobsRequest["change"], context: GatewayContext) =>
    changeJobs(scheduler, index, request, what, context);
  return {
    cancelJob: (request: CancelJobRequest, context: GatewayContext) => cancelJob(scheduler, request, context),
    retryJob: (request: RetryJobRequest, context: GatewayContext) => retryJob(scheduler, request, context),
    deleteJob: (request: DeleteJobRequest, context: GatewayContext) => deleteJob(scheduler, request, context),
    cancelJobs: (request: CancelJobsRequest, context: GatewayContext) =>
      change(request, { $case: "cancelReason", value: request.reason }, context),
    retryJobs: ({ fromCheckpoint, ...request }: RetryJobsRequest, context: GatewayContext) =>
      change(request, { $case: "retry", value: { fromCheckpoint } }, context),
    deleteJobs: (request: DeleteJobsRequest, context: GatewayContext) =>
      change(request, { $case: "delete", value: {} }, context),
  };
}

const REREAD_MS = 100;

async function cancelJob(
  scheduler: SchedulerClient,
  request: CancelJobRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const { jobId, reason } = request;
  const violations = checkCancelJob(request);
  if (violations.length > 0) throw invalidArgument(violations);
  if (!isJobId(jobId)) throw notFound("job", jobId);
  const bytes = encode(SchedulerCancelJob, {
    jobId,
    reason,
    visibleLibraries: visibleLibraries(context.principal),
  });
  return scheduler.call(SchedulerServiceService.cancelJob, bytes, context);
}

async function retryJob(
  scheduler: SchedulerClient,
  request: RetryJobRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const { jobId, fromCheckpoint, failedItemsOnly } = request;
  const violations = checkRetryJob(request);
  if (violations.length > 0) throw invalidArgument(violations);
  if (!isJobId(jobId)) throw notFound("job", jobId);
  const endedRevision = request.endedRevision || (await revisionOfEnd(scheduler, jobId, context));
  const bytes = encode(SchedulerRetryJob, {
    jobId,
    fromCheckpoint,
    endedRevision,
    failedItemsOnly,
    visibleLibraries: visibleLibraries(context.principal),
  });
  return scheduler.call(SchedulerServiceService.retryJob, bytes, context);
}

/** The job's revision, as its leader knows it. @throws FAILED_PRECONDITION when it has not ended */
async function revisionOfEnd(
  scheduler: SchedulerClient,
  jobId: string,
  call: GatewayContext,
): Promise<bigint> {
  const { status, revision } = await currentJob(scheduler, jobId, call);
  if (status >= JobStatus.JOB_STATUS_COMPLETED) return revision;
  throw new ArrwError("FAILED_PRECONDITION", `job ${jobId} has not ended; cancel it first`, {
    reason: "JOB_NOT_TERMINAL",
    resource: { type: "job", name: jobId },
  });
}

/** A standby's answer may be older than an end that the client has seen. */
async function currentJob(scheduler: SchedulerClient, jobId: string, call: GatewayContext): Promise<Job> {
  for (;;) {
    const reply = await readJob(scheduler, jobId, call);
    const { job, staleSequence } = SchedulerGetJobResponse.decode(reply);
    if (!job) throw new ArrwError("INTERNAL", "the scheduler answered without a job");
    if (staleSequence === 0n) return job;
    if (Date.now() + REREAD_MS >= call.deadlineMs) throw unavailable("no scheduler leads");
    await delay(REREAD_MS, undefined, { signal: call.signal }).catch(() => undefined);
  }
}

async function deleteJob(
  scheduler: SchedulerClient,
  { jobId }: DeleteJobRequest,
  context: GatewayContext,
): Promise<Buffer> {
  if (!isJobId(jobId)) throw notFound("job", jobId);
  const bytes = encode(SchedulerDeleteJob, {
    jobId,
    visibleLibraries: visibleLibraries(context.principal),
  });
  let uncertain = false;
  const call = { ...boundsOf(context), onUncertain: () => (uncertain = true) };
  try {
    return await scheduler.call(SchedulerServiceService.deleteJob, bytes, call);
  } catch (error) {
    // The call whose reply was lost has deleted it.
    if (uncertain && toArrwError(error).code === "NOT_FOUND") return Buffer.alloc(0);
    throw error;
  }
}

async function changeJobs(
  scheduler: SchedulerClient,
  index: IndexClient,
  request: JobsChange,
  change: ChangeJobsRequest["change"],
  context: GatewayContext,
): Promise<Buffer> {
  const violations = checkJobsChange(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const filter = await withLibraryId(index, request.filter, context);
  const bytes = encode(SchedulerChangeJobs, {
    filter,
    limit: changeLimitOf(request.limit),
    change,
    visibleLibraries: visibleLibraries(context.principal),
  });
  // Repeated, it would run those again that have failed again meanwhile.
  const call = change?.$case === "retry" ? { ...boundsOf(context), onUncertain: notRepeated } : context;
  return scheduler.call(SchedulerServiceService.changeJobs, bytes, call);
}

function notRepeated(cause: ArrwError): void {
  const message = "the scheduler went away in the midst of the call: some of the jobs may run again already";
  throw unavailable(message, { cause, reason: "OUTCOME_UNKNOWN" });
}

function boundsOf({ deadlineMs, signal }: SchedulerCall): SchedulerCall {
  return { deadlineMs, signal };
}
