import type { Database, Key } from "lmdb";
import TinyQueue from "tinyqueue";
import type { LibraryPatterns } from "../../platform/library-patterns.ts";
import { JobFilter, type JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { looksIntoRows, RowFilter } from "./row-filter.ts";
import { patternsOf, SEVERAL_LIBRARIES, type Selection } from "./selection.ts";
import { BEHIND_ALL, HEADER_BYTES, labelDigest, type StoreFiles } from "./store-files.ts";

/** What a list reads from the disk, in one snapshot: rows that match, newest first, by job id (UUIDv7, so by time). */

export interface ScanRequest {
  /** Encoded JobFilter. */
  readonly filter: Uint8Array;
  /** Libraries that are seen; none = all. */
  readonly visible: LibraryPatterns;
  /** Only jobs below this id; undefined = all. */
  readonly before: string | undefined;
  /** Rows at most. */
  readonly limit: number;
  /** Whether all that match are wanted, not only those of the page. */
  readonly all: boolean;
}

export interface ScanResult {
  readonly jobIds: string[];
  /** The record of each job. */
  readonly records: Uint8Array[];
  /** All jobs from this id on were looked at; undefined = all there are. */
  readonly end: string | undefined;
  /** All jobs on disk that match; undefined = not wanted, or too many were to be looked at. */
  readonly matching: string[] | undefined;
}

/** Jobs looked at for one page, and for all that match. */
const MAX_EXAMINED = 10_000;
/** Ids read ahead per group: few at first, most groups have none of the page. */
const FIRST_CHUNK = 8;
const CHUNK = 128;

export function scan(files: StoreFiles, request: ScanRequest): ScanResult {
  // A snapshot of an earlier scan may still be open: it lacks what was written since.
  files.root.resetReadTxn();
  const { before, limit, all, visible } = request;
  const filter: Selection = { ...JobFilter.decode(request.filter), visibleLibraries: visible };
  const looksInto = looksIntoRows(filter) || visible.length > 0;
  const rowFilter = looksInto ? new RowFilter(filter) : undefined;
  const sure = isOneLabel(filter);
  const page = { jobIds: [] as string[], records: [] as Uint8Array[], end: undefined as string | undefined };
  const matching: string[] = [];
  let examined = 0;
  let more = false;
  for (const jobId of candidates(files, filter, before)) {
    const full = page.jobIds.length === limit;
    if (examined === MAX_EXAMINED || (full && !all)) {
      return { ...page, matching: undefined };
    }
    examined += 1;
    const matches = sure || !rowFilter || rowMatches(files, jobId, rowFilter);
    if (matches && all) matching.push(jobId);
    if (full) {
      more ||= matches;
      continue;
    }
    page.end = jobId;
    const row = matches ? files.jobs.get(jobId) : undefined;
    if (!row) continue;
    page.jobIds.push(jobId);
    page.records.push(row.subarray(HEADER_BYTES));
  }
  return { ...page, end: more ? page.end : undefined, matching: all ? matching : undefined };
}

/** Looks at the row where it lies. */
function rowMatches(files: StoreFiles, jobId: string, filter: RowFilter): boolean {
  const row = files.jobs.getBinaryFast(jobId);
  return row !== undefined && filter.matches(row, HEADER_BYTES);
}

/** All candidates are matches then. */
function isOneLabel(filter: Selection): boolean {
  const { labels, statuses, types, libraryId, createdAfter, createdBefore } = filter;
  if (patternsOf(filter).length > 0) return false;
  if (createdAfter || createdBefore || libraryId !== "" || statuses.length > 0 || types.length > 0)
    return false;
  return Object.keys(labels).length === 1;
}

/** Groups of a key order in which all jobs of a filter are. */
interface Source {
  readonly keys: Database<string, Key[]>;
  readonly groups: readonly Key[][];
}

/** Ids of jobs that may match, newest first: all that match are among them. */
function candidates(files: StoreFiles, filter: Selection, before: string | undefined): Iterable<string> {
  const { byLabel, byLibrary, byKind, jobs } = files;
  const { labels, libraryId, statuses, types } = filter;
  if (libraryId === SEVERAL_LIBRARIES) return [];
  const sources: Source[] = Object.entries(labels).map(([key, value]) => {
    return { keys: byLabel, groups: [[labelDigest(key, value)]] };
  });
  if (libraryId !== "") {
    sources.push({ keys: byLibrary, groups: groupsOf(byLibrary, [libraryId], filter) });
  } else if (patternsOf(filter).length > 0) {
    sources.push({ keys: byLibrary, groups: visibleGroups(byLibrary, filter) });
  } else if (statuses.length > 0 || types.length > 0) {
    sources.push({ keys: byKind, groups: groupsOf(byKind, [], filter) });
  }
  const source = smallest(sources);
  if (source) return mergedIds(source.keys, source.groups, before);
  const from = before === undefined ? {} : { start: before, exclusiveStart: true };
  return jobs.getKeys({ ...from, reverse: true });
}

function smallest(sources: readonly Source[]): Source | undefined {
  if (sources.length < 2) return sources[0];
  const sizes = sources.map((source) => ({ source, size: sizeOf(source) }));
  return sizes.sort((a, b) => a.size - b.size)[0]?.source;
}

/** Jobs in it; counting stops where no page looks at all of them. */
function sizeOf({ keys, groups }: Source): number {
  let size = 0;
  for (const group of groups) {
    if (size > MAX_EXAMINED) break;
    size += keys.getKeysCount({ start: [...group], end: [...group, BEHIND_ALL], limit: MAX_EXAMINED + 1 });
  }
  return size;
}

/** The [..., type, status] below a prefix that have jobs and match the filter: one look each, however many jobs. */
function groupsOf(keys: Database<string, Key[]>, prefix: Key[], filter: JobFilter): Key[][] {
  const groups: Key[][] = [];
  let start: Key[] = prefix;
  for (;;) {
    const [key] = keys.getKeys({ start, end: [...prefix, BEHIND_ALL], limit: 1 });
    if (!key) return groups;
    const group = key.slice(0, -1);
    const [type, status] = group.slice(-2) as [string, JobStatus];
    const ofType = filter.types.length === 0 || filter.types.includes(type);
    if (ofType && (filter.statuses.length === 0 || filter.statuses.includes(status))) groups.push(group);
    start = [...group, BEHIND_ALL];
  }
}

/** Those of all libraries that are seen, and of jobs that have several. */
function visibleGroups(keys: Database<string, Key[]>, filter: Selection): Key[][] {
  const libraries = new Set<string>([SEVERAL_LIBRARIES]);
  for (const pattern of patternsOf(filter)) {
    if (!pattern.endsWith("*")) libraries.add(pattern);
    else for (const id of librariesWith(keys, pattern.slice(0, -1))) libraries.add(id);
  }
  return [...libraries].flatMap((id) => (id === "" ? [] : groupsOf(keys, [id], filter)));
}

/** Libraries that have jobs, by the beginning of their ids: one look each. */
function* librariesWith(keys: Database<string, Key[]>, prefix: string): Generator<string> {
  let start: Key[] = [prefix];
  for (;;) {
    const [key] = keys.getKeys({ start, limit: 1 });
    const library = key?.[0];
    if (typeof library !== "string" || !library.startsWith(prefix)) return;
    yield library;
    start = [library, BEHIND_ALL];
  }
}

interface Cursor {
  readonly group: Key[];
  ids: string[];
  at: number;
  whole: boolean;
}

function* mergedIds(
  keys: Database<string, Key[]>,
  groups: readonly Key[][],
  before: string | undefined,
): Generator<string> {
  const read = (cursor: Cursor, from: string | undefined, limit: number): void => {
    cursor.ids = [...groupIds(keys, cursor.group, from, limit)];
    cursor.whole = cursor.ids.length < limit;
    cursor.at = 0;
  };
  const newest = (a: Cursor, b: Cursor): number => ((a.ids[a.at] ?? "") < (b.ids[b.at] ?? "") ? 1 : -1);
  const cursors = groups.map((group) => {
    const cursor: Cursor = { group, ids: [], at: 0, whole: false };
    read(cursor, before, FIRST_CHUNK);
    return cursor;
  });
  const queue = new TinyQueue<Cursor>(
    cursors.filter((cursor) => cursor.ids.length > 0),
    newest,
  );
  for (let cursor = queue.pop(); cursor; cursor = queue.pop()) {
    const id = cursor.ids[cursor.at] as string;
    yield id;
    cursor.at += 1;
    if (cursor.at === cursor.ids.length && !cursor.whole) read(cursor, id, CHUNK);
    if (cursor.at < cursor.ids.length) queue.push(cursor);
  }
}

/** Ids below a prefix, newest first, older than `before`. */
function groupIds(
  keys: Database<string, Key[]>,
  prefix: readonly Key[],
  before: string | undefined,
  limit?: number,
): Iterable<string> {
  // In key order an array sorts before every longer one that it begins.
  const range = keys.getKeys({
    start: [...prefix, before ?? BEHIND_ALL],
    end: [...prefix],
    reverse: true,
    exclusiveStart: true,
    ...(limit === undefined ? {} : { limit }),
  });
  return range.map((key) => key.at(-1) as string);
}
