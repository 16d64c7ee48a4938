import { encode } from "../../platform/encode.ts";
import { ArrwError, invalidArgument, notFound, toArrwError } from "../../platform/errors.ts";
import type { Handlers } from "../../platform/grpc/server.ts";
import {
  ListJobsRequest as SchedulerListJobs,
  GetQueueStatsResponse as SchedulerQueueStats,
  GetQueueStatsRequest as SchedulerQueueStatsRequest,
  SchedulerServiceService,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type {
  GetJobRequest,
  GetQueueStatsResponse,
  ListJobsRequest,
  WatchJobRequest,
  WatchJobsRequest,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { DocumentImport } from "./document-import.ts";
import { visibleLibraries } from "./domain/principal.ts";
import { isJobId } from "./domain/validation/ids.ts";
import { checkListJobs, checkWatchJob, checkWatchJobs } from "./domain/validation/lists.ts";
import { pageSizeOf } from "./domain/validation/paging.ts";
import { MAX_REQUESTS } from "./domain/validation/submit.ts";
import { parseCursor } from "./domain/watch-cursor.ts";
import type { Downloads } from "./downloads.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
import { jobChanges } from "./job-changes-rpc.ts";
import type { JobItems } from "./job-items.ts";
import { readJob } from "./job-reader.ts";
import type { JobWatches } from "./job-watches.ts";
import { withLibraryId } from "./library-filter.ts";
import type { Logs } from "./logs.ts";
import { inputBytes, type ReceivedSubmit, type ReceivingJobService } from "./received.ts";
import type { SchedulerClient } from "./scheduler-client.ts";
import type { Spool } from "./spool.ts";
import { mergedResults, onlyJob, type Submission, Submissions } from "./submissions.ts";
import type { Watches } from "./watches.ts";

export interface JobsRpcOptions {
  readonly scheduler: SchedulerClient;
  readonly index: IndexClient;
  readonly spool: Spool;
  readonly watches: Watches;
  readonly logs: Logs;
  readonly jobWatches: JobWatches;
  readonly downloads: Downloads;
  readonly items: JobItems;
}

/** arrwdb.v1.JobService. */
export function jobHandlers(options: JobsRpcOptions): Handlers<typeof ReceivingJobService, GatewayContext> {
  const { scheduler, index, spool, watches, logs, downloads, items } = options;
  const submissions = new Submissions(scheduler, index, spool);
  const imports = new DocumentImport(submissions, spool);
  return {
    submitJob: (received, context) => submitJob(submissions, received, context),
    submitJobs: (received, context) => submitJobs(submissions, received, context),
    importDocuments: (messages, context) => imports.run(messages, context),
    getJob: (request, context) => getJob(scheduler, request, context),
    listJobs: (request, context) => listJobs(options, request, context),
    ...jobChanges(scheduler, index),
    watchJob: (request, context) => watchJob(watches, request, context),
    getQueueStats: (_request, context) => getQueueStats(scheduler, context),
    watchJobs: (request, context) => watchJobs(options, request, context),
    getJobLogs: (request, context) => logs.read(request, context),
    listJobItems: (request, context) => items.list(request, context),
    downloadExport: (request, context) => downloads.read(request, context),
  };
}

async function submitJob(
  submissions: Submissions,
  received: ReceivedSubmit,
  context: GatewayContext,
): Promise<Buffer> {
  const libraries = await submissions.libraries([received.request], context);
  const library = libraries.get(received.request.libraryId);
  const submission = await submissions.prepare(received, library, context);
  return onlyJob(await submissions.submit([submission], context));
}

async function submitJobs(
  submissions: Submissions,
  received: readonly ReceivedSubmit[],
  context: GatewayContext,
): Promise<Buffer> {
  if (received.length < 1 || received.length > MAX_REQUESTS) {
    throw invalidArgument([{ field: "requests", description: `1..10,000; got ${received.length}` }]);
  }
  const libraries = await submissions.libraries(
    received.map(({ request }) => request),
    context,
  );
  const outcomes: (Submission | ArrwError)[] = [];
  for (const each of received) {
    const library = libraries.get(each.request.libraryId);
    const spools = inputBytes(each) !== undefined;
    try {
      const prepared = submissions.prepare(each, library, context);
      outcomes.push(prepared instanceof Promise ? await prepared : prepared);
    } catch (error) {
      const known = toArrwError(error);
      if (known.code === "INTERNAL" || (spools && context.signal.aborted)) {
        submissions.discard(outcomes.filter(isSubmission));
        throw error;
      }
      outcomes.push(known);
    }
  }
  const good = outcomes.filter(isSubmission);
  const reply = good.length > 0 ? await submissions.submit(good, context) : new Uint8Array();
  return good.length === outcomes.length ? asBuffer(reply) : mergedResults(outcomes, reply);
}

function isSubmission(outcome: Submission | ArrwError): outcome is Submission {
  return !(outcome instanceof ArrwError);
}

async function getJob(
  scheduler: SchedulerClient,
  { jobId }: GetJobRequest,
  context: GatewayContext,
): Promise<Buffer> {
  if (!isJobId(jobId)) throw notFound("job", jobId);
  return readJob(scheduler, jobId, context);
}

async function listJobs(
  { scheduler, index }: JobsRpcOptions,
  request: ListJobsRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const violations = checkListJobs(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const page = {
    filter: await withLibraryId(index, request.filter, context),
    pageSize: pageSizeOf(request.pageSize),
    pageToken: request.pageToken,
    visibleLibraries: visibleLibraries(context.principal),
  };
  const bytes = asBuffer(SchedulerListJobs.encode(page).finish());
  return scheduler.call(SchedulerServiceService.listJobs, bytes, context);
}

/** @throws ArrwError at once when the request is none */
function watchJob(
  watches: Watches,
  request: WatchJobRequest,
  context: GatewayContext,
): AsyncGenerator<Buffer> {
  const violations = checkWatchJob(request);
  if (violations.length > 0) throw invalidArgument(violations);
  if (!isJobId(request.jobId)) throw notFound("job", request.jobId);
  return watches.watch(request, context);
}

async function* watchJobs(
  { index, jobWatches }: JobsRpcOptions,
  request: WatchJobsRequest,
  context: GatewayContext,
): AsyncGenerator<Buffer> {
  const violations = checkWatchJobs(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const filter = await withLibraryId(index, request.filter, context);
  yield* jobWatches.watch(filter, parseCursor(request.afterCursor), context);
}

async function getQueueStats(
  scheduler: SchedulerClient,
  context: GatewayContext,
): Promise<GetQueueStatsResponse> {
  const request = encode(SchedulerQueueStatsRequest, {
    visibleLibraries: visibleLibraries(context.principal),
  });
  const reply = await scheduler.call(SchedulerServiceService.getQueueStats, request, context);
  const { stats } = SchedulerQueueStats.decode(reply);
  if (!stats) throw new ArrwError("INTERNAL", "the scheduler answered without counts");
  return stats;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
