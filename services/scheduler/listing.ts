import { createHash } from "node:crypto";
import TinyQueue from "tinyqueue";
import { invalidArgument } from "../../platform/errors.ts";
import type { Job, JobFilter } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { type Group, groupMatches, groupOf } from "./group-counts.ts";
import type { Store } from "./jobs.ts";

/** Pages of jobs from the store, newest first: a merge of the groups that match, by job id (UUIDv7, so by time). */

export interface Page {
  readonly jobs: Job[];
  readonly nextPageToken: string;
  /** undefined with labels or times: these are not counted. */
  readonly totalSize: number | undefined;
}

/** Jobs looked at for one page; a filter that matches few gives a short page with a token. */
const MAX_EXAMINED = 10_000;
/** Ids read ahead per group. */
const CHUNK = 16;

/** @throws ArrwError INVALID_ARGUMENT when the token is not one of ours, or is another filter's */
export function listJobs(
  store: Store,
  filter: JobFilter | undefined,
  pageSize: number,
  pageToken: string,
): Page {
  const before = pageToken === "" ? undefined : parseToken(pageToken, filter);
  const jobs: Job[] = [];
  let examined = 0;
  let last: string | undefined;
  let more = false;
  for (const jobId of mergedIds(store, store.counts.known(filter), before)) {
    if (jobs.length === pageSize || examined === MAX_EXAMINED) {
      more = true;
      break;
    }
    examined += 1;
    last = jobId;
    const state = store.get(jobId)?.state;
    // The index is as of the last flush; the job may have changed since.
    if (state && groupMatches(groupOf(state), filter) && rowMatches(state.job, filter)) jobs.push(state.job);
  }
  const nextPageToken = more && last !== undefined ? formatToken(last, filter) : "";
  return { jobs, nextPageToken, totalSize: isCounted(filter) ? store.counts.total(filter) : undefined };
}

interface Cursor {
  readonly group: Group;
  ids: string[];
  at: number;
}

function* mergedIds(store: Store, groups: readonly Group[], before: string | undefined): Generator<string> {
  const newest = (a: Cursor, b: Cursor): number => ((a.ids[a.at] ?? "") < (b.ids[b.at] ?? "") ? 1 : -1);
  const cursors = groups.map((group) => ({ group, ids: store.idsOfGroup(group, before, CHUNK), at: 0 }));
  const queue = new TinyQueue<Cursor>(
    cursors.filter((cursor) => cursor.ids.length > 0),
    newest,
  );
  for (let cursor = queue.pop(); cursor; cursor = queue.pop()) {
    const id = cursor.ids[cursor.at];
    if (id === undefined) continue;
    yield id;
    cursor.at += 1;
    if (cursor.at === cursor.ids.length) {
      cursor.ids = cursor.ids.length < CHUNK ? [] : store.idsOfGroup(cursor.group, id, CHUNK);
      cursor.at = 0;
    }
    if (cursor.ids.length > 0) queue.push(cursor);
  }
}

function isCounted(filter: JobFilter | undefined): boolean {
  if (!filter) return true;
  return Object.keys(filter.labels).length === 0 && !filter.createdAfter && !filter.createdBefore;
}

function rowMatches(job: Job, filter: JobFilter | undefined): boolean {
  if (!filter) return true;
  for (const [key, value] of Object.entries(filter.labels)) if (job.labels[key] !== value) return false;
  const createdAt = job.createdAt?.getTime() ?? 0;
  if (filter.createdAfter && createdAt < filter.createdAfter.getTime()) return false;
  return !(filter.createdBefore && createdAt >= filter.createdBefore.getTime());
}

function formatToken(jobId: string, filter: JobFilter | undefined): string {
  return Buffer.from(JSON.stringify([1, jobId, fingerprint(filter)])).toString("base64url");
}

function parseToken(token: string, filter: JobFilter | undefined): string {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    if (Array.isArray(parsed) && parsed[0] === 1 && typeof parsed[1] === "string") {
      if (parsed[2] === fingerprint(filter)) return parsed[1];
      throw invalidArgument([{ field: "page_token", description: "belongs to a list with another filter" }]);
    }
  } catch (error) {
    if (error instanceof Error && error.name === "ArrwError") throw error;
  }
  const description = "must be the next_page_token of the page before; got something else";
  throw invalidArgument([{ field: "page_token", description }]);
}

function fingerprint(filter: JobFilter | undefined): string {
  const {
    statuses = [],
    types = [],
    libraryId = "",
    labels = {},
    createdAfter,
    createdBefore,
  } = filter ?? {};
  const parts = [
    [...statuses].sort(),
    [...types].sort(),
    libraryId,
    Object.entries(labels).sort(),
    createdAfter?.getTime() ?? null,
    createdBefore?.getTime() ?? null,
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 12);
}
