import {
  type JobFilter,
  JobStatus,
  type ListJobItemsRequest,
  type ListJobsRequest,
  type WatchJobRequest,
  type WatchJobsRequest,
} from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import { JOB_TYPE_NAMES } from "../job-types.ts";
import { parseCursor } from "../watch-cursor.ts";
import { checkPage } from "./paging.ts";
import { checkLabels } from "./submit.ts";
import { quoted, type Violation, Violations } from "./violations.ts";

const MAX_STATUSES = 16;
const MAX_TYPES = 16;
const STATUSES = Object.entries(JobStatus).filter(([, value]) => value !== 0);
const KNOWN_STATUSES = new Set<number>(STATUSES.map(([, value]) => value));

export function checkListJobs(request: ListJobsRequest): readonly Violation[] {
  const violations = new Violations();
  checkPage(request, violations);
  if (request.filter) checkJobFilter(request.filter, violations);
  return violations.list;
}

export function checkJobFilter(filter: JobFilter, violations: Violations): void {
  const { statuses, types, labels, createdAfter, createdBefore } = filter;
  violations.maxItems("filter.statuses", statuses.length, MAX_STATUSES);
  for (const [index, status] of statuses.slice(0, MAX_STATUSES).entries()) {
    if (KNOWN_STATUSES.has(status)) continue;
    const names = STATUSES.map(([name]) => name).join(", ");
    violations.add(`filter.statuses[${index}]`, `one of ${names}; got ${status}`);
  }
  violations.maxItems("filter.types", types.length, MAX_TYPES);
  for (const [index, type] of types.slice(0, MAX_TYPES).entries()) {
    violations.oneOf(`filter.types[${index}]`, type, JOB_TYPE_NAMES);
  }
  checkLabels("filter.labels", labels, violations);
  for (const [name, time] of [
    ["created_after", createdAfter],
    ["created_before", createdBefore],
  ] as const) {
    if (time && Number.isNaN(time.getTime()))
      violations.add(`filter.${name}`, "a time; got one out of range");
  }
}

export function checkWatchJob(request: WatchJobRequest): readonly Violation[] {
  const violations = new Violations();
  if (request.afterRevision < 0n) violations.add("after_revision", `0 or more; got ${request.afterRevision}`);
  return violations.list;
}

export function checkWatchJobs({ filter, afterCursor }: WatchJobsRequest): readonly Violation[] {
  const violations = new Violations();
  if (filter) checkJobFilter(filter, violations);
  if (afterCursor !== "" && !parseCursor(afterCursor)) {
    violations.add("after_cursor", `a cursor of an event or a list, or ""; got ${quoted(afterCursor)}`);
  }
  return violations.list;
}

export function checkListJobItems(request: ListJobItemsRequest): readonly Violation[] {
  const violations = new Violations();
  if (request.outcome !== "") violations.oneOf("outcome", request.outcome, ["ok", "failed"]);
  checkPage(request, violations);
  return violations.list;
}
