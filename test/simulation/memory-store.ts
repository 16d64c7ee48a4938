import { unavailable } from "../../platform/errors.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { isActive } from "../../services/scheduler/domain/state.ts";
import { GroupCounts } from "../../services/scheduler/group-counts.ts";
import type { Store } from "../../services/scheduler/jobs.ts";
import type { DirtyRow, RawRecord, StoredJob, Through } from "../../services/scheduler/store.ts";
import { stateOf } from "../../services/scheduler/store.ts";
import type { Host } from "./host.ts";

interface DiskRow extends StoredJob {
  readonly byteLength: number;
}

type Row = Omit<DirtyRow, "presence">;

/** What of a store outlives its process. */
export class Disk {
  readonly rows = new Map<string, DiskRow>();
  readonly requests = new Map<string, string>();
  through: Through | undefined;

  clear(): void {
    this.rows.clear();
    this.requests.clear();
    this.through = undefined;
  }

  /** @param known the writer knows that there is a row: its keys go with it */
  write(jobId: string, row: Row, known: boolean): void {
    const { sequence, bytes, state } = row;
    const before = known ? this.rows.get(jobId)?.state : undefined;
    if (state && bytes) {
      this.rows.set(jobId, { sequence, state, byteLength: bytes.length });
      if (state.job.requestId !== "") this.requests.set(state.job.requestId, jobId);
      return;
    }
    this.rows.delete(jobId);
    if (before && before.job.requestId !== "") this.requests.delete(before.job.requestId);
  }
}

/** So few rows are one transaction, so that a crash finds flushes half done. */
const SLICE_ROWS = 3;
const SLICE_MS = 2;

/** The local store with a disk in memory. */
export class MemoryStore implements Store {
  readonly counts = new GroupCounts();
  readonly #disk: Disk;
  readonly #host: Host;
  #dirty = new Map<string, DirtyRow>();
  #writing: ReadonlyMap<string, DirtyRow> = new Map();
  #flushing: Promise<void> | undefined;
  #closed = false;

  constructor(disk: Disk, host: Host) {
    this.#disk = disk;
    this.#host = host;
    if (!disk.through) disk.clear();
    for (const { state } of disk.rows.values()) this.counts.move(undefined, state);
  }

  through(): Through | undefined {
    return this.#disk.through;
  }

  get liveBytes(): number {
    let bytes = 0;
    for (const { byteLength } of this.#disk.rows.values()) bytes += byteLength;
    return bytes;
  }

  get dirtyRows(): number {
    return this.#dirty.size;
  }

  get(jobId: string): StoredJob | undefined {
    const row = this.#dirty.get(jobId) ?? this.#writing.get(jobId);
    if (row) return row.state && { sequence: row.sequence, state: row.state };
    return this.#disk.rows.get(jobId);
  }

  sequenceOf(jobId: string): number | undefined {
    return this.get(jobId)?.sequence;
  }

  jobIdOfRequest(requestId: string): string | undefined {
    return this.#disk.requests.get(requestId);
  }

  activeJobIds(): string[] {
    return [...this.#disk.rows].filter(([, { state }]) => isActive(state)).map(([jobId]) => jobId);
  }

  async list(): Promise<never> {
    throw unavailable("lists are not simulated");
  }

  write(jobId: string, row: DirtyRow): void {
    if (this.#dirty.get(jobId)?.presence.stored) row.presence.stored = true;
    this.#dirty.set(jobId, row);
  }

  async flush(position: () => Through): Promise<{ through: number; jobIds: ReadonlySet<string> }> {
    while (this.#flushing) await this.#flushing;
    const through = position();
    const rows = this.#dirty;
    this.counts.takeChanged();
    this.#dirty = new Map();
    this.#writing = rows;
    this.#flushing = this.#writeRows(rows, through);
    await this.#flushing;
    this.#writing = new Map();
    this.#flushing = undefined;
    return { through: through.sequence, jobIds: new Set(rows.keys()) };
  }

  writeNow(records: ReadonlyMap<string, RawRecord>, through: Through): void {
    for (const [jobId, { sequence, bytes }] of records) {
      const record = JournalRecord.decode(bytes);
      const state = record.state && stateOf(record);
      this.counts.move(this.#disk.rows.get(jobId)?.state, state);
      this.#disk.write(jobId, { sequence, bytes, state }, true);
    }
    this.#disk.through = through;
  }

  oldestEnded(limit: number, endedBeforeMs: number): string[] {
    const ended: { jobId: string; atMs: number }[] = [];
    for (const [jobId, { state }] of this.#disk.rows) {
      const atMs = state.job.completedAt?.getTime() ?? 0;
      if (!isActive(state) && atMs <= endedBeforeMs) ended.push({ jobId, atMs });
    }
    return ended
      .sort((a, b) => a.atMs - b.atMs)
      .slice(0, limit)
      .map(({ jobId }) => jobId);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#flushing;
  }

  async destroy(): Promise<void> {
    await this.close();
    this.#disk.clear();
  }

  async #writeRows(rows: ReadonlyMap<string, DirtyRow>, through: Through): Promise<void> {
    let gathered = 0;
    for (const [jobId, row] of rows) {
      if (gathered === SLICE_ROWS) {
        await this.#transaction();
        gathered = 0;
      }
      gathered += 1;
      this.#disk.write(jobId, row, row.presence.stored);
      row.presence.stored = row.state !== undefined;
    }
    await this.#transaction();
    if (this.#closed && this.#host.dead) return;
    this.#disk.through = through;
  }

  /** A dead process's transaction never ends. */
  #transaction(): Promise<void> {
    return new Promise((resolve) => this.#host.ioAfter(SLICE_MS, resolve));
  }
}
