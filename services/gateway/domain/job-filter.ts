import type { Job, JobFilter } from "../../../proto/gen/arrwdb/v1/jobs.ts";

/** Which jobs a watch wants: as in ListJobs. What can be told from a few fields of a job is asked first. */

export type JobHead = Pick<Job, "type" | "status" | "libraryId">;
export type JobRest = Pick<Job, "labels" | "createdAt">;

export interface JobMatcher {
  head(job: JobHead): boolean;
  /** undefined = the head says all. */
  readonly rest: ((job: JobRest) => boolean) | undefined;
}

export function jobMatcher(filter: JobFilter | undefined): JobMatcher {
  const statuses = new Set<number>(filter?.statuses);
  const types = new Set(filter?.types);
  const libraryId = filter?.libraryId ?? "";
  const labels = Object.entries(filter?.labels ?? {});
  const from = filter?.createdAfter?.getTime();
  const before = filter?.createdBefore?.getTime();
  const rest = (job: JobRest): boolean => {
    for (const [key, value] of labels) if (job.labels[key] !== value) return false;
    const createdAt = job.createdAt?.getTime() ?? 0;
    if (from !== undefined && createdAt < from) return false;
    return before === undefined || createdAt < before;
  };
  return {
    head: (job) =>
      (statuses.size === 0 || statuses.has(job.status)) &&
      (types.size === 0 || types.has(job.type)) &&
      (libraryId === "" || job.libraryId === libraryId),
    rest: labels.length === 0 && from === undefined && before === undefined ? undefined : rest,
  };
}
