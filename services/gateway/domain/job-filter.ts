import type { Job, JobFilter } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { type Principal, sees, seesJob } from "./principal.ts";

/** Which jobs a watch wants and may see: as in ListJobs. What can be told from a few fields of a job is asked first. */

export type JobHead = Pick<Job, "type" | "status" | "libraryId">;
export type JobRest = Pick<Job, "labels" | "createdAt" | "libraryId" | "libraryIds">;

export interface JobMatcher {
  head(job: JobHead): boolean;
  /** undefined = the head says all. */
  readonly rest: ((job: JobRest) => boolean) | undefined;
}

export function jobMatcher(filter: JobFilter | undefined, principal: Principal): JobMatcher {
  const statuses = new Set<number>(filter?.statuses);
  const types = new Set(filter?.types);
  const libraryId = filter?.libraryId ?? "";
  const labels = Object.entries(filter?.labels ?? {});
  const from = filter?.createdAfter?.getTime();
  const before = filter?.createdBefore?.getTime();
  const isConfined = principal.libraries !== undefined;
  const rest = (job: JobRest): boolean => {
    if (!seesJob(principal, job)) return false;
    for (const [key, value] of labels) if (job.labels[key] !== value) return false;
    const createdAt = job.createdAt?.getTime() ?? 0;
    if (from !== undefined && createdAt < from) return false;
    return before === undefined || createdAt < before;
  };
  return {
    head: (job) =>
      (statuses.size === 0 || statuses.has(job.status)) &&
      (types.size === 0 || types.has(job.type)) &&
      (libraryId === "" || job.libraryId === libraryId) &&
      // A job without a library may have several.
      (!isConfined || job.libraryId === "" || sees(principal, job.libraryId)),
    rest: isConfined || labels.length > 0 || from !== undefined || before !== undefined ? rest : undefined,
  };
}
