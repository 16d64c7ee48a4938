import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import { type Database, type Key, open, type RootDatabase } from "lmdb";
import { ArrwError } from "../../platform/errors.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { isActive, type JobState } from "./domain/state.ts";
import { type Group, GroupCounts, groupOf } from "./group-counts.ts";

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

/** How far the store goes. */
export interface Through {
  /** When the journal stream was made. */
  readonly streamCreatedAt: string;
  readonly sequence: number;
  /** SHA-256 (hex) of that sequence's batch. */
  readonly checksum: string;
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

const HEADER_BYTES = 8;
const MAX_ID_LENGTH = 200;
/** Rows written in one turn of the event loop: a few milliseconds. */
const SLICE_ROWS = 500;

export class JobStore {
  /** Totals of all durable jobs. */
  readonly counts = new GroupCounts();
  readonly #path: string;
  readonly #root: RootDatabase;
  readonly #jobs: Database<Buffer, string>;
  /** [libraryId, type, status, jobId] -> "" */
  readonly #groups: Database<string, Key[]>;
  readonly #requests: Database<string, string>;
  /** Jobs that a restart loads into memory. */
  readonly #active: Database<string, string>;
  /** [completedAt ms, jobId] -> "": the order of retention. */
  readonly #ended: Database<string, Key[]>;
  readonly #counts: Database<number, Key[]>;
  readonly #bytes: Database<number, string>;
  readonly #meta: Database<Through, string>;
  /** Totals of the rows on disk. */
  readonly #onDisk = new GroupCounts();
  #dirty = new Map<string, DirtyRow>();
  #writing: ReadonlyMap<string, DirtyRow> = new Map();
  #flushing: Promise<void> | undefined;
  #liveBytes = 0;
  #flushedThrough: number;
  #failure: Error | undefined;

  constructor(path: string) {
    this.#path = path;
    this.#root = open({ path, maxDbs: 10, encoding: "binary", noMemInit: true });
    this.#jobs = this.#root.openDB({ name: "jobs", encoding: "binary" });
    this.#groups = this.#root.openDB({ name: "groups", encoding: "string" });
    this.#requests = this.#root.openDB({ name: "requests", encoding: "string" });
    this.#active = this.#root.openDB({ name: "active", encoding: "string" });
    this.#ended = this.#root.openDB({ name: "ended", encoding: "string" });
    this.#counts = this.#root.openDB({ name: "counts", encoding: "json" });
    this.#bytes = this.#root.openDB({ name: "bytes", encoding: "json" });
    this.#meta = this.#root.openDB({ name: "meta", encoding: "json" });
    for (const { key, value } of this.#counts.getRange()) {
      const [libraryId, type, status] = key as [string, string, JobStatus];
      this.counts.add({ libraryId, type, status }, value);
      this.#onDisk.add({ libraryId, type, status }, value);
    }
    this.#onDisk.takeChanged();
    this.#liveBytes = this.#bytes.get("live") ?? 0;
    this.#flushedThrough = this.through()?.sequence ?? 0;
  }

  /** undefined: nothing was ever flushed. */
  through(): Through | undefined {
    return this.#meta.get("through");
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
    // LMDB throws on a key that is too long, and no job has one.
    const bytes = jobId.length > MAX_ID_LENGTH ? undefined : this.#jobs.get(jobId);
    return bytes && decodeRow(bytes);
  }

  /** The journal sequence of a job's newest record, without decoding it. */
  sequenceOf(jobId: string): number | undefined {
    const row = this.#dirty.get(jobId) ?? this.#writing.get(jobId);
    return row ? row.state && row.sequence : this.#jobs.get(jobId)?.readDoubleBE(0);
  }

  jobIdOfRequest(requestId: string): string | undefined {
    return this.#requests.get(requestId);
  }

  activeJobIds(): string[] {
    return [...this.#active.getKeys()];
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
    this.#dirty = new Map();
    this.#writing = rows;
    this.#flushing = this.#writeRows(rows, through).then(
      () => {
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

  /** Ids of a group's jobs, newest first, older than `before`; at most `limit`. */
  idsOfGroup(group: Group, before: string | undefined, limit: number): string[] {
    const prefix: Key[] = [group.libraryId, group.type, group.status];
    // In key order an array sorts before every longer one that it begins.
    const start: Key[] = [...prefix, before ?? "\u{10ffff}"];
    const keys = this.#groups.getKeys({ start, end: prefix, reverse: true, limit: limit + 1 });
    const ids: string[] = [];
    for (const key of keys) {
      const id = key[3] as string;
      if (id !== before && ids.length < limit) ids.push(id);
    }
    return ids;
  }

  /** Ended jobs, the longest ended first; those with an open fence are left out. */
  oldestEnded(limit: number, endedBeforeMs: number): string[] {
    const range = this.#ended.getKeys({ end: [endedBeforeMs], limit });
    return [...range].map((key) => key[1] as string);
  }

  async close(): Promise<void> {
    await this.#flushing;
    await this.#root.close();
  }

  /** Closes it and deletes its files. */
  async destroy(): Promise<void> {
    await this.close();
    rmSync(this.#path, { recursive: true, force: true });
  }

  async #writeRows(rows: ReadonlyMap<string, DirtyRow>, through: Through): Promise<void> {
    let gathered = 0;
    for (const [jobId, row] of rows) {
      if (gathered === SLICE_ROWS) {
        await this.#endSlice();
        gathered = 0;
      }
      gathered += 1;
      const before = row.presence.stored ? this.#jobs.get(jobId) : undefined;
      row.presence.stored = row.state !== undefined;
      if (before) this.#removeKeys(jobId, before, row.state);
      if (row.state && row.bytes) {
        const value = Buffer.allocUnsafe(HEADER_BYTES + row.bytes.length);
        value.writeDoubleBE(row.sequence, 0);
        value.set(row.bytes, HEADER_BYTES);
        void this.#jobs.put(jobId, value);
        this.#putKeys(jobId, row.state);
        this.#onDisk.move(undefined, row.state);
        this.#liveBytes += row.bytes.length;
      } else {
        void this.#jobs.remove(jobId);
      }
    }
    // Rows may be ahead of how far the store says it goes: taking up a record again changes nothing.
    void this.#meta.put("through", through);
    await this.#endSlice();
  }

  /** All writes of one turn of the event loop are one LMDB transaction: totals always fit the rows. */
  async #endSlice(): Promise<void> {
    for (const { libraryId, type, status, count } of this.#onDisk.takeChanged()) {
      const key: Key[] = [libraryId, type, status];
      void (count === 0 ? this.#counts.remove(key) : this.#counts.put(key, count));
    }
    await this.#bytes.put("live", this.#liveBytes);
  }

  #removeKeys(jobId: string, before: Buffer, after: JobState | undefined): void {
    const { state } = decodeRow(before);
    this.#onDisk.move(state, undefined);
    this.#liveBytes -= before.length - HEADER_BYTES;
    const group = groupOf(state);
    if (!after || !sameGroup(group, groupOf(after))) {
      void this.#groups.remove([group.libraryId, group.type, group.status, jobId]);
    }
    if (isActive(state) && !(after && isActive(after))) void this.#active.remove(jobId);
    if (after) return;
    if (state.job.requestId !== "") void this.#requests.remove(state.job.requestId);
    void this.#ended.remove([state.job.completedAt?.getTime() ?? 0, jobId]);
  }

  #putKeys(jobId: string, state: JobState): void {
    const { libraryId, type, status } = groupOf(state);
    void this.#groups.put([libraryId, type, status, jobId], "");
    if (state.job.requestId !== "") void this.#requests.put(state.job.requestId, jobId);
    if (isActive(state)) void this.#active.put(jobId, "");
    else void this.#ended.put([state.job.completedAt?.getTime() ?? 0, jobId], "");
  }
}

function sameGroup(a: Group, b: Group): boolean {
  return a.status === b.status && a.type === b.type && a.libraryId === b.libraryId;
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
