import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";

/** The libraries that a job changes: each has a fence of its leases. */
export function librariesOf({
  libraryId,
  libraryIds,
}: Pick<Job, "libraryId" | "libraryIds">): readonly string[] {
  return libraryId === "" ? libraryIds : [libraryId];
}
