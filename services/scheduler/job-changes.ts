import { ArrwError, notFound } from "../../platform/errors.ts";
import { isJobVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import type { ChangeJobsRequest } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job, JobFilter, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Command } from "./domain/commands.ts";
import { hasItems } from "./domain/items.ts";
import { BLOCKED, CANCELLED, COMPLETED, FAILED, PENDING, RUNNING, SCHEDULED } from "./domain/state.ts";
import type { Entry } from "./jobs.ts";
import type { Selection } from "./selection.ts";
import { durable, refusal } from "./submit.ts";
import type { Term } from "./term.ts";

/** What clients change of jobs that are there: cancel, retry, delete; one, or all that a filter matches. */

export type Change = Extract<Command, { kind: "requestCancel" | "retry" | "delete" }>;

const STATUSES: Readonly<Record<Change["kind"], readonly JobStatus[]>> = {
  requestCancel: [SCHEDULED, BLOCKED, PENDING, RUNNING],
  retry: [FAILED, CANCELLED],
  delete: [COMPLETED, FAILED, CANCELLED],
};

/** Changes one job and waits until that is durable. @throws NOT_FOUND, FAILED_PRECONDITION, RESOURCE_EXHAUSTED */
export async function changeJob(
  term: Term,
  jobId: string,
  change: Change,
  options: { readonly maxActiveJobs: number; readonly visible: LibraryPatterns },
): Promise<Entry> {
  const { table, dispatcher } = term;
  const { maxActiveJobs, visible } = options;
  if (visible.length > 0 && !isSeen(table.find(jobId), visible)) throw notFound("job", jobId);
  const refused = change.kind === "retry" ? refusal(term, maxActiveJobs) : undefined;
  if (refused && !isRepeat(table.find(jobId), change)) throw refused;
  const outcome = table.transition(jobId, change);
  const { entry } = outcome;
  if (!entry) throw notFound("job", jobId);
  if (change.kind === "retry") dispatcher.run();
  await durable([entry]);
  if (outcome.accepted || outcome.rejection === "ALREADY") return entry;
  if (outcome.rejection === "NOT_FOUND") throw notFound("job", jobId);
  if (outcome.rejection === "NO_FAILED_ITEMS") throw noFailedItems(entry.committed?.job, jobId);
  throw refusedChange(change, entry.committed?.job, jobId);
}

/** A job's libraries never change. */
export function isSeen(entry: Entry | undefined, visible: LibraryPatterns): boolean {
  const job = (entry?.head ?? entry?.committed)?.job;
  return job !== undefined && isJobVisible(visible, job);
}

/** The retry was taken already: it is no new job, whatever the limits say. */
function isRepeat(entry: Entry | undefined, change: Change): boolean {
  if (change.kind !== "retry" || !change.endedRevision || !entry?.head) return false;
  return entry.head.job.revision > change.endedRevision;
}

function refusedChange(change: Change, job: Job | undefined, jobId: string): ArrwError {
  const resource = { type: "job", name: jobId };
  if (change.kind === "requestCancel") {
    const message = `job ${jobId} has ended and can't be cancelled`;
    return new ArrwError("FAILED_PRECONDITION", message, { reason: "JOB_TERMINAL", resource });
  }
  const ended = job !== undefined && STATUSES.delete.includes(job.status);
  const message = ended
    ? `job ${jobId} has ended, but its lost worker is still being shut out of the index: try again`
    : `job ${jobId} has not ended; cancel it first`;
  return new ArrwError("FAILED_PRECONDITION", message, {
    reason: ended ? "FENCE_OPEN" : "JOB_NOT_TERMINAL",
    resource,
  });
}

function noFailedItems(job: Job | undefined, jobId: string): ArrwError {
  const items = job !== undefined && hasItems(job);
  const message = items ? `no item of job ${jobId} failed` : `jobs of type ${job?.type} have no items`;
  const reason = items ? "NO_FAILED_ITEMS" : "NO_ITEMS";
  return new ArrwError("FAILED_PRECONDITION", message, { reason, resource: { type: "job", name: jobId } });
}

export interface Changed {
  readonly changedJobs: bigint;
  readonly skippedJobs: bigint;
  readonly hasMore: boolean;
}

/** A page of jobs that match, and where the next one begins; "" = nowhere. */
export type ListPage = (
  filter: Selection,
  pageSize: number,
  pageToken: string,
) => Promise<{ readonly jobs: readonly Job[]; readonly nextPageToken: string }>;

const PAGE_SIZE = 500;

/** Changes up to `limit` jobs, page by page, each page durable before the next; stops early when `isTimeUp`. */
export async function changeJobs(
  term: Term,
  request: ChangeJobsRequest,
  options: { readonly list: ListPage; readonly maxActiveJobs: number; readonly isTimeUp: () => boolean },
): Promise<Changed> {
  const change = changeOf(request);
  const filter: Selection = {
    ...narrowed(request.filter, change.kind),
    visibleLibraries: request.visibleLibraries,
  };
  let changed = 0;
  let skipped = 0;
  let pageToken = "";
  let more = filter.statuses.length > 0;
  while (more && changed < request.limit && !options.isTimeUp()) {
    const refused = change.kind === "retry" ? refusal(term, options.maxActiveJobs) : undefined;
    if (refused && changed === 0) throw refused;
    if (refused) break;
    const pageSize = Math.min(PAGE_SIZE, request.limit - changed);
    const page = await options.list(filter, pageSize, pageToken).catch((error: unknown) => {
      // What was changed so far is durable, and the caller has to know: a repeat would change it again.
      if (changed === 0) throw error;
      return undefined;
    });
    if (!page) break;
    const entries: Entry[] = [];
    for (const { jobId } of page.jobs) {
      const outcome = term.table.transition(jobId, change);
      if (outcome.accepted) entries.push(outcome.entry);
      else if (outcome.rejection !== "ALREADY") skipped += 1;
    }
    if (change.kind === "retry") term.dispatcher.run();
    await durable(entries);
    changed += entries.length;
    pageToken = page.nextPageToken;
    more = pageToken !== "";
  }
  return { changedJobs: BigInt(changed), skippedJobs: BigInt(skipped), hasMore: more };
}

function changeOf({ change }: ChangeJobsRequest): Change {
  switch (change?.$case) {
    case "cancelReason":
      return { kind: "requestCancel", reason: change.value };
    case "retry":
      return { kind: "retry", fromCheckpoint: change.value.fromCheckpoint };
    case "delete":
      return { kind: "delete" };
    default:
      throw new ArrwError("INVALID_ARGUMENT", "change must be set");
  }
}

/** Only jobs that the change can be made of; COMPLETED ones are retried only where they are asked for. */
function narrowed(filter: JobFilter | undefined, kind: Change["kind"]): JobFilter {
  const asked = filter?.statuses ?? [];
  const possible = kind === "retry" && asked.includes(COMPLETED) ? STATUSES.delete : STATUSES[kind];
  const statuses = asked.length === 0 ? possible : possible.filter((status) => asked.includes(status));
  const any = { types: [], libraryId: "", labels: {}, createdAfter: undefined, createdBefore: undefined };
  return { ...any, ...filter, statuses: [...statuses] };
}
