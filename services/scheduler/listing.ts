import { unavailable } from "../../platform/errors.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { type Job, JobFilter } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { GroupCounts } from "./group-counts.ts";
import { ListClient, startListThread } from "./list-client.ts";
import { formatToken, parseToken } from "./page-token.ts";
import { jobMatches, looksIntoRows } from "./row-filter.ts";
import { patternsOf, type Selection } from "./selection.ts";
import type { Rows } from "./store.ts";

/**
 * Pages of jobs, newest first. A thread reads them from the disk; what has not reached the disk yet is laid over them
 * here, in one turn of the event loop, so that a page is exactly the durable jobs as of one position in the journal.
 */

export interface Page {
  readonly jobs: Job[];
  readonly nextPageToken: string;
  /** undefined with labels or times when more than 10,000 jobs would have to be looked at to count. */
  readonly totalSize: number | undefined;
  /** Position in the journal that the page is as of: it has nothing newer and misses nothing. */
  readonly through: number;
}

export interface ListingOptions {
  readonly counts: GroupCounts;
  /** Rows that are not on disk, or not surely; the newest first. */
  readonly unwritten: () => readonly Rows[];
}

/** A page that the overlay has made shorter is filled up from the disk, so many times at most. */
const MAX_ROUNDS = 5;

/** A job of a page, or its record. */
type Row = [jobId: string, row: Uint8Array | Job];

/** One list in the making. */
interface Round {
  readonly filter: Selection | undefined;
  readonly pageSize: number;
  readonly before: string | undefined;
  /** What the disk had, newest first. */
  readonly found: [jobId: string, record: Uint8Array][];
  /** Rows that reached the disk while it was read: the snapshot may lack them. */
  readonly meanwhile: Rows[];
  /** The disk was read from `before` down to here; undefined = to its end. */
  end: string | undefined;
}

export class Listing {
  readonly #options: ListingOptions;
  readonly #client: ListClient;
  readonly #rounds = new Set<Round>();
  #stopped = false;

  constructor(path: string, options: ListingOptions) {
    this.#options = options;
    this.#client = new ListClient(() => startListThread(path));
  }

  /** @throws ArrwError INVALID_ARGUMENT for a wrong token; UNAVAILABLE when stopped or overloaded */
  async list(
    filter: Selection | undefined,
    pageSize: number,
    pageToken: string,
    position: () => number,
  ): Promise<Page> {
    const token = pageToken === "" ? undefined : parseToken(pageToken, filter);
    const before = token?.before;
    const round: Round = { filter, pageSize, before, found: [], meanwhile: [], end: before };
    this.#rounds.add(round);
    try {
      const isCounted = this.#isCounted(filter);
      const onDisk = await this.#read(round, token === undefined && isCounted);
      if (this.#stopped) throw unavailable("the store was closed", { retryAfterMs: 500 });
      const { rows, total } = this.#merge(round, onDisk);
      const last = rows.length > pageSize ? rows[pageSize - 1]?.[0] : round.end;
      const counted = token ? token.total : total;
      const totalSize = isCounted ? counted : this.#options.counts.total(filter);
      const nextPageToken = last === undefined ? "" : formatToken({ before: last, total: counted }, filter);
      const jobs = rows.slice(0, pageSize).map(([, row]) => (row instanceof Uint8Array ? jobOf(row) : row));
      return { jobs, nextPageToken, totalSize, through: position() };
    } finally {
      this.#rounds.delete(round);
    }
  }

  /** These rows are on disk now, and no longer among the unwritten ones. */
  written(rows: Rows): void {
    for (const round of this.#rounds) round.meanwhile.unshift(rows);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#client.stop();
  }

  /** Its total is known only by looking at the jobs. */
  #isCounted(filter: Selection | undefined): boolean {
    if (looksIntoRows(filter)) return true;
    return patternsOf(filter).length > 0 && this.#options.counts.ofSeveral(filter) > 0;
  }

  /** Reads until the page is full, with all that lies over it. @returns all jobs on disk that match, if `all` are wanted */
  async #read(round: Round, all: boolean): Promise<string[] | undefined> {
    const { filter, pageSize } = round;
    const encoded = JobFilter.encode(filter ?? JobFilter.fromPartial({})).finish();
    let onDisk: string[] | undefined;
    for (let n = 0; n < MAX_ROUNDS; n++) {
      const visible = patternsOf(filter);
      const request = { filter: encoded, visible, before: round.end, limit: pageSize, all: all && n === 0 };
      const { jobIds, records, end, matching } = await this.#client.scan(request);
      if (n === 0) onDisk = matching;
      for (const [at, jobId] of jobIds.entries()) round.found.push([jobId, records[at] as Uint8Array]);
      round.end = end;
      // Few jobs for much reading: a short page.
      if (end === undefined || jobIds.length < pageSize || this.#merge(round).rows.length >= pageSize) break;
    }
    return onDisk;
  }

  /**
   * The page as of now, perhaps longer than asked for, and the total if it is known what the disk had of it. A layer has
   * all that changed since the round began, so what no layer has is on disk as it was then.
   */
  #merge(
    { filter, before, found, meanwhile, end }: Round,
    onDisk?: readonly string[],
  ): { rows: Row[]; total: number | undefined } {
    const layers = [...this.#options.unwritten(), ...meanwhile].filter((layer) => layer.size > 0);
    const rows: Row[] = found.filter(([jobId]) => !isCovered(layers, layers.length, jobId));
    let total = 0;
    for (const jobId of onDisk ?? []) if (!isCovered(layers, layers.length, jobId)) total += 1;
    for (const [depth, layer] of layers.entries()) {
      for (const [jobId, { state }] of layer) {
        if (!state || !jobMatches(state.job, filter)) continue;
        if (isCovered(layers, depth, jobId)) continue;
        total += 1;
        const inRange = (before === undefined || jobId < before) && (end === undefined || jobId >= end);
        if (inRange) rows.push([jobId, state.job]);
      }
    }
    rows.sort(([a], [b]) => (a < b ? 1 : -1));
    return { rows, total: onDisk && total };
  }
}

function isCovered(layers: readonly Rows[], depth: number, jobId: string): boolean {
  for (let above = 0; above < depth; above++) if (layers[above]?.has(jobId)) return true;
  return false;
}

function jobOf(record: Uint8Array): Job {
  return JournalRecord.decode(record).state?.job as Job;
}
