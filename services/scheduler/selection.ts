import { isJobVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import type { Job, JobFilter } from "../../proto/gen/arrwdb/v1/jobs.ts";

/** Which jobs a caller asks for, among those that it may see. */
export type Selection = JobFilter & {
  /** Undefined or empty: it sees all. */
  readonly visibleLibraries?: LibraryPatterns;
};

/**
 * Stands for the library of jobs that have several: no library's id has it. In key orders and totals they are a group of
 * their own, of which each job has to be looked at before somebody who doesn't see all gets to see it.
 */
export const SEVERAL_LIBRARIES = ",";

/** Under what a job stands in key orders and totals by library. */
export function libraryKey({ libraryId, libraryIds }: Pick<Job, "libraryId" | "libraryIds">): string {
  return libraryId === "" && libraryIds.length > 0 ? SEVERAL_LIBRARIES : libraryId;
}

export function patternsOf(selection: Selection | undefined): LibraryPatterns {
  return selection?.visibleLibraries ?? [];
}

export function isSelectionVisible(
  selection: Selection | undefined,
  job: Pick<Job, "libraryId" | "libraryIds">,
): boolean {
  return isJobVisible(patternsOf(selection), job);
}

const NO_FILTER: JobFilter = {
  statuses: [],
  types: [],
  libraryId: "",
  labels: {},
  createdAfter: undefined,
  createdBefore: undefined,
};

/** What of it is asked for by a caller that sees these libraries. */
export function selectionOf(
  filter: JobFilter | undefined,
  visibleLibraries: LibraryPatterns,
): Selection | undefined {
  return visibleLibraries.length === 0 ? filter : { ...(filter ?? NO_FILTER), visibleLibraries };
}
