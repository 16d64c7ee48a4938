import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { type Key, TransactionFlags } from "lmdb";
import { ArrwError } from "../../platform/errors.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./domain/state.ts";
import { GroupCounts } from "./group-counts.ts";
import { Listing, type Page } from "./listing.ts";
import type { Selection } from "./selection.ts";
import { HEADER_BYTES, MAX_ID_LENGTH, StoreFiles, type Through } from "./store-files.ts";

export type { Through } from "./store-files.ts";

/**
 * The journal's projection on disk: all retained jobs with the keys that lists need. Written behind the journal, one
 * row per job and flush, coalesced. It carries how far it goes; when that does not fit the journal it is deleted and
 * rebuilt, so it may be lost at any time.
 */

/** A job as the store has it. */
export interface StoredJob {
  /** Journal sequence of its newest record. */
  readonly sequence: number;
  readonly state: JobState;
}

/** Whether a job has a row on disk; kept with the job, so that a new job needs no look. */
export interface Presence {
  stored: boolean;
}

/** A durable record on its way to the disk. */
export interface DirtyRow {
  readonly sequence: number;
  /** The record's bytes; undefined = the job is deleted. */
  readonly bytes: Uint8Array | undefined;
  readonly state: JobState | undefined;
  /** Whose row it is. */
  readonly presence: Presence;
}

/** A record as the journal has it. */
export interface RawRecord {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** Rows by job id. */
export type Rows = ReadonlyMap<string, DirtyRow>;

/** Abortable, committed when it returns, synced to the disk afterwards: LMDB keeps the older root until then. */
const WRITE_NOW_FLAGS =
  TransactionFlags.ABORTABLE | TransactionFlags.SYNCHRONOUS_COMMIT | TransactionFlags.NO_SYNC_FLUSH;
/** Rows written in one turn of the event loop: a few milliseconds. */
const SLICE_ROWS = 500;

export class JobStore {
  /** Totals of all durable jobs. */
  readonly counts = new GroupCounts();
  readonly #path: string;
  readonly #files: StoreFiles;
  readonly #listing: Listing;
  /** Totals of the rows on disk. */
  readonly #onDisk = new GroupCounts();
  #dirty = new Map<string, DirtyRow>();
  #writing: Rows = new Map();
  #flushing: Promise<void> | undefined;
  #liveBytes = 0;
  #flushedThrough: number;
  #failure: Error | undefined;

  /** @throws Error when the files there have another format */
  constructor(path: string) {
    this.#path = path;
    this.#files = new StoreFiles(path);
    // Rows without a word on how far they go: the first rebuild did not come to its first end.
    if (!this.through()) this.#files.clear();
    for (const { key, value } of this.#files.counts.getRange()) {
      const [libraryId, type, status] = key as [string, string, JobStatus];
      this.counts.add({ libraryId, type, status }, value);
      this.#onDisk.add({ libraryId, type, status }, value);
    }
    this.counts.takeChanged();
    this.#onDisk.takeChanged();
    this.#liveBytes = this.#files.bytes.get("live") ?? 0;
    this.#flushedThrough = this.through()?.sequence ?? 0;
    this.#listing = new Listing(path, {
      counts: this.counts,
      unwritten: () => [this.#dirty, this.#writing],
    });
  }

  /** undefined: nothing was ever flushed. */
  through(): Through | undefined {
    return this.#files.meta.get("through");
  }

  /** Bytes of the newest records of all retained jobs: what a compacted journal would hold. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  get dirtyRows(): number {
    return this.#dirty.size;
  }

  get(jobId: string): StoredJob | undefined {
    const row = this.#dirty.get(jobId) ?? this.#writing.get(jobId);
    if (row) return row.state && { sequence: row.sequence, state: row.state };
    const bytes = jobId.length > MAX_ID_LENGTH ? undefined : this.#files.jobs.get(jobId);
    return bytes && decodeRow(bytes);
  }

  /** The journal sequence of a job's newest record, without decoding it. */
  sequenceOf(jobId: string): number | undefined {
    const row = this.#dirty.get(jobId) ?? this.#writing.get(jobId);
    return row ? row.state && row.sequence : this.#files.jobs.getBinaryFast(jobId)?.readDoubleBE(0);
  }

  /** @param requestKey the request_id within its scope */
  jobIdOfRequest(requestKey: string): string | undefined {
    return this.#files.requests.get(requestKey);
  }

  activeJobIds(): string[] {
    return [...this.#files.active.getKeys()];
  }

  /**
   * A page of the durable jobs, newest first; what was written before the call is in it.
   * @param position called when the page is made; the page is exactly the jobs as of that position
   * @throws ArrwError INVALID_ARGUMENT when the token is not one of ours, or is another filter's; UNAVAILABLE when the
   * store is closed meanwhile, or has too many lists to make
   */
  list(
    filter: Selection | undefined,
    pageSize: number,
    pageToken: string,
    position: () => number = () => 0,
  ): Promise<Page> {
    return this.#listing.list(filter, pageSize, pageToken, position);
  }

  /** Takes up a durable record; it reaches the disk with the next flush. */
  write(jobId: string, row: DirtyRow): void {
    // A tombstone that is still to be written leaves its row on disk to the job that has the id now.
    if (this.#dirty.get(jobId)?.presence.stored) row.presence.stored = true;
    this.#dirty.set(jobId, row);
  }

  /**
   * Writes all that is dirty, slice by slice, and at last how far it goes; one flush after the other.
   * @throws once and for all when a write fails: what was to be written is only in the journal now
   */
  async flush(position: () => Through): Promise<{ through: number; jobIds: ReadonlySet<string> }> {
    while (this.#flushing) await this.#flushing;
    if (this.#failure) throw this.#failure;
    const through = position();
    const rows = this.#dirty;
    if (rows.size === 0 && through.sequence === this.#flushedThrough) {
      return { through: through.sequence, jobIds: new Set() };
    }
    // Groups that have no jobs any more are forgotten then.
    this.counts.takeChanged();
    this.#dirty = new Map();
    this.#writing = rows;
    this.#flushing = this.#writeRows(rows, through).then(
      () => {
        this.#listing.written(rows);
        this.#writing = new Map();
        this.#flushedThrough = through.sequence;
      },
      (error: Error) => {
        this.#failure = error;
      },
    );
    await this.#flushing;
    this.#flushing = undefined;
    if (this.#failure) throw this.#failure;
    return { through: through.sequence, jobIds: new Set(rows.keys()) };
  }

  /**
   * Writes the newest records of many jobs at once, and how far the store goes then: for a store that is far behind.
   * Blocks for the time it takes, so that what is read does not outrun it. Not between `write` and `flush`.
   */
  writeNow(records: ReadonlyMap<string, RawRecord>, through: Through): void {
    if (this.#dirty.size > 0 || this.#flushing) throw new Error("rows wait to be flushed");
    this.#files.root.transactionSync(() => {
      for (const [jobId, { sequence, bytes }] of records) {
        const record = JournalRecord.decode(bytes);
        const state = record.state ? stateOf(record) : undefined;
        const before = this.#files.jobs.get(jobId);
        this.counts.move(before && decodeRow(before).state, state);
        this.#writeRow(jobId, before, { sequence, bytes, state });
      }
      void this.#files.meta.put("through", through);
      void this.#putTotals();
    }, WRITE_NOW_FLAGS);
    this.#flushedThrough = through.sequence;
    this.counts.takeChanged();
  }

  /** Ended jobs, the longest ended first; those with an open fence are left out. */
  oldestEnded(limit: number, endedBeforeMs: number): string[] {
    const range = this.#files.ended.getKeys({ end: [endedBeforeMs], limit });
    return [...range].map((key) => key[1] as string);
  }

  async close(): Promise<void> {
    // LMDB must not be closed under a thread that reads.
    await this.#listing.stop();
    await this.#flushing;
    await this.#files.root.close();
  }

  /** Closes it and deletes its files. */
  async destroy(): Promise<void> {
    await this.close();
    rmSync(this.#path, { recursive: true, force: true });
  }

  async #writeRows(rows: Rows, through: Through): Promise<void> {
    let gathered = 0;
    for (const [jobId, row] of rows) {
      if (gathered === SLICE_ROWS) {
        await this.#putTotals();
        gathered = 0;
      }
      gathered += 1;
      const before = row.presence.stored ? this.#files.jobs.get(jobId) : undefined;
      row.presence.stored = row.state !== undefined;
      this.#writeRow(jobId, before, row);
    }
    // Rows may be ahead of how far the store says it goes: taking up a record again changes nothing.
    void this.#files.meta.put("through", through);
    await this.#putTotals();
  }

  #writeRow(jobId: string, before: Buffer | undefined, row: Omit<DirtyRow, "presence">): void {
    const stateBefore = before && decodeRow(before).state;
    if (before && stateBefore) {
      this.#files.removeKeys(stateBefore, row.state);
      this.#liveBytes -= before.length - HEADER_BYTES;
    }
    this.#onDisk.move(stateBefore, row.state);
    if (!row.state || !row.bytes) {
      void this.#files.jobs.remove(jobId);
      return;
    }
    const value = Buffer.allocUnsafe(HEADER_BYTES + row.bytes.length);
    value.writeDoubleBE(row.sequence, 0);
    value.set(row.bytes, HEADER_BYTES);
    void this.#files.jobs.put(jobId, value);
    this.#files.putKeys(stateBefore, row.state);
    this.#liveBytes += row.bytes.length;
  }

  /** All writes of one turn of the event loop are one LMDB transaction: totals always fit the rows. */
  async #putTotals(): Promise<void> {
    for (const { libraryId, type, status, count } of this.#onDisk.takeChanged()) {
      const key: Key[] = [libraryId, type, status];
      void (count === 0 ? this.#files.counts.remove(key) : this.#files.counts.put(key, count));
    }
    await this.#files.bytes.put("live", this.#liveBytes);
  }
}

function decodeRow(row: Buffer): StoredJob {
  const record = JournalRecord.decode(row.subarray(HEADER_BYTES));
  return { sequence: row.readDoubleBE(0), state: stateOf(record) };
}

/** The state in a record that is no tombstone. */
export function stateOf(record: JournalRecord): JobState {
  const { state } = record;
  if (!state?.job) throw new ArrwError("DATA_LOSS", `the journal's record of job ${record.jobId} has no job`);
  return { ...state, job: state.job };
}

export function checksumOf(batch: Uint8Array): string {
  return createHash("sha256").update(batch).digest("hex");
}
