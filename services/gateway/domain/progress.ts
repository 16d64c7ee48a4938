import { type Job, type JobProgress, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";

const TERMINAL: ReadonlySet<number> = new Set([
  JobStatus.JOB_STATUS_COMPLETED,
  JobStatus.JOB_STATUS_FAILED,
  JobStatus.JOB_STATUS_CANCELLED,
]);

export function isTerminal(job: Job): boolean {
  return TERMINAL.has(job.status);
}

/** Reports can overtake each other; within one revision a lower count of the same total is an old one. */
export function isNewerProgress(report: JobProgress, known: JobProgress | undefined): boolean {
  if (!known || report.total !== known.total || report.current > known.current) return true;
  return (
    report.current === known.current &&
    (report.message !== known.message || report.percentage !== known.percentage)
  );
}

/**
 * A job record has the progress of its last checkpoint. While the same attempt goes on, what was reported since
 * stays: progress doesn't step back for a watcher.
 */
export function withKnownProgress(job: Job, before: Job | undefined): Job {
  const known = before?.progress;
  if (!known || isTerminal(job) || job.attempt !== before.attempt || job.losses !== before.losses) return job;
  const older = job.progress && isNewerProgress(job.progress, known);
  return older ? job : { ...job, progress: known };
}
