import { JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";

/** "RUNNING"; of a status that is newer than this client "STATUS_12". */
export function statusName(status: JobStatus | number): string {
  const name = Object.entries(JobStatus).find(([, value]) => value === status)?.[0];
  return name?.replace("JOB_STATUS_", "") ?? `STATUS_${status}`;
}
