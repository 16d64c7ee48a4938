import type { JobState as JobStateMessage } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { type Job, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";

/** A job as the scheduler holds it: never changed in place, always replaced by its next state. */
export type JobState = Omit<JobStateMessage, "job"> & { readonly job: Job };

export const {
  JOB_STATUS_PENDING: PENDING,
  JOB_STATUS_SCHEDULED: SCHEDULED,
  JOB_STATUS_BLOCKED: BLOCKED,
} = JobStatus;
export const { JOB_STATUS_RUNNING: RUNNING, JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;
export const { JOB_STATUS_FAILED: FAILED, JOB_STATUS_CANCELLED: CANCELLED } = JobStatus;

/** COMPLETED, FAILED and CANCELLED change only when somebody asks for a retry. */
export function isTerminal(status: JobStatus): boolean {
  return status === COMPLETED || status === FAILED || status === CANCELLED;
}

/** Not ended, or its fence in the index is still to be closed: such a job stays in memory. */
export function isActive(state: JobState): boolean {
  return !isTerminal(state.job.status) || state.fencePending !== 0n;
}
