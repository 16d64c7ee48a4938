import { type DeepPartial, type Job, JobFilter, type JobServiceClient } from "../proto/gen/arrwdb/v1/jobs.ts";
import { type ResumeOptions, resumed } from "./resuming.ts";

export interface WatchJobsOptions extends ResumeOptions {
  /** Only jobs that match, as they are after the event; default: all. */
  readonly filter?: DeepPartial<JobFilter>;
  /** Go on behind this event, or behind a list (`ListJobsResponse.cursor`); default: from now on. */
  readonly afterCursor?: string;
}

/** One transition of a job. */
export interface JobEvent {
  /** Where a watch goes on behind this event. */
  readonly cursor: string;
  /** "job.submitted", "job.started", "job.checkpointed", "job.retrying", "job.completed", "job.deleted", ... */
  readonly event: string;
  readonly at: Date;
  /** After the event. */
  readonly job: Job;
}

/** See ArrwClient.watchJobs; `now` gives the cursor of this moment. */
export async function* watchJobs(
  stub: JobServiceClient,
  options: WatchJobsOptions,
  now: () => Promise<string>,
): AsyncGenerator<JobEvent> {
  const filter = JobFilter.fromPartial(options.filter ?? {});
  // Without a cursor, a stream that breaks before its first event would have a gap.
  let afterCursor = options.afterCursor || (await now());
  const open = stub.watchJobs.bind(stub);
  for await (const message of resumed((...call) => open({ filter, afterCursor }, ...call), options)) {
    const { cursor, event, at, job } = message;
    afterCursor = cursor;
    if (job) yield { cursor, event, at: at ?? new Date(0), job };
  }
}
