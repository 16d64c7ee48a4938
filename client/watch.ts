import { type Job, type JobServiceClient, JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { type ResumeOptions, resumed } from "./resuming.ts";

export interface WatchOptions extends ResumeOptions {
  /** Revision the caller has already; the first job is newer. Default 0: the job as it is comes first. */
  readonly afterRevision?: bigint;
}

/** COMPLETED, FAILED or CANCELLED. */
export function isTerminal(job: Pick<Job, "status">): boolean {
  return job.status >= JobStatus.JOB_STATUS_COMPLETED;
}

/** See ArrwClient.watch. */
export async function* watchJob(
  stub: JobServiceClient,
  jobId: string,
  options: WatchOptions,
): AsyncGenerator<Job> {
  let afterRevision = options.afterRevision ?? 0n;
  const open = stub.watchJob.bind(stub);
  for await (const { job } of resumed((...call) => open({ jobId, afterRevision }, ...call), options)) {
    if (!job) continue;
    afterRevision = job.revision;
    yield job;
    if (isTerminal(job)) return;
  }
}
