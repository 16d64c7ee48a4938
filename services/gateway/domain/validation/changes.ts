import type {
  CancelJobRequest,
  CancelJobsRequest,
  JobFilter,
  RetryJobRequest,
} from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import { checkJobFilter } from "./lists.ts";
import { type Violation, Violations } from "./violations.ts";

/** What clients change of jobs that are there. */

/** What CancelJobs, RetryJobs and DeleteJobs have in common. */
export type JobsChange = Pick<CancelJobsRequest, "filter" | "all" | "limit"> & { readonly reason?: string };

const DEFAULT_LIMIT = 1_000;
const MAX_LIMIT = 10_000;
const MAX_REASON_CHARACTERS = 1_000;

export function checkCancelJob(request: CancelJobRequest): readonly Violation[] {
  const violations = new Violations();
  violations.maxCharacters("reason", request.reason, MAX_REASON_CHARACTERS);
  return violations.list;
}

export function checkRetryJob(request: RetryJobRequest): readonly Violation[] {
  const violations = new Violations();
  if (request.endedRevision < 0n) violations.add("ended_revision", `0 or more; got ${request.endedRevision}`);
  if (request.fromCheckpoint && request.failedItemsOnly) {
    violations.add("failed_items_only", "not together with from_checkpoint; got both");
  }
  return violations.list;
}

/** A filter that happens to be empty must not change every job there is. */
export function checkJobsChange({ filter, all, limit, reason = "" }: JobsChange): readonly Violation[] {
  const violations = new Violations();
  if (!all && !hasCondition(filter)) {
    violations.add("filter", "at least one condition is needed, or all; got none");
  }
  if (filter) checkJobFilter(filter, violations);
  violations.integer("limit", limit, 0, MAX_LIMIT);
  violations.maxCharacters("reason", reason, MAX_REASON_CHARACTERS);
  return violations.list;
}

/** Jobs that are changed at most. */
export function changeLimitOf(requested: number): number {
  return requested === 0 ? DEFAULT_LIMIT : requested;
}

function hasCondition(filter: JobFilter | undefined): boolean {
  if (!filter) return false;
  const { statuses, types, libraryId, labels, createdAfter, createdBefore } = filter;
  const lists = statuses.length + types.length + Object.keys(labels).length;
  return lists > 0 || libraryId !== "" || createdAfter !== undefined || createdBefore !== undefined;
}
