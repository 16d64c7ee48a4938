import { JobLogBatch } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { LeaseLog, LineBatch, LineOutlet } from "../../../services/worker/lease-log.ts";

/** Takes what leases log, as if it were stored at once. */
export class RecordedLines implements LineOutlet {
  readonly batches: JobLogBatch[] = [];
  readonly opened: LeaseLog[] = [];
  readonly dropped: string[] = [];
  waitingBytes = 0;
  /** Batches are left where they are. */
  holds = false;
  room = Number.POSITIVE_INFINITY;
  readonly #calls: string[] | undefined;

  constructor(calls?: string[]) {
    this.#calls = calls;
  }

  /** "level text" of each line. */
  get lines(): string[] {
    return this.batches.flatMap(({ lines }) => lines.map(({ level, text }) => `${level} ${text}`));
  }

  onOpened(log: LeaseLog): void {
    this.opened.push(log);
  }

  onSealed(log: LeaseLog): void {
    if (this.holds) return;
    for (let batch = log.take(); batch; batch = log.take()) {
      this.store(batch);
      log.done(batch);
    }
  }

  store({ bytes }: LineBatch): void {
    const batch = JobLogBatch.decode(bytes);
    this.batches.push(batch);
    this.#calls?.push(`log ${batch.lines.length}`);
  }

  admit(bytes: number): boolean {
    if (this.waitingBytes + bytes > this.room) return false;
    this.waitingBytes += bytes;
    return true;
  }

  onGone(bytes: number): void {
    this.waitingBytes -= bytes;
  }

  onDropped(lines: number, reason: string): void {
    this.dropped.push(`${lines} ${reason}`);
  }
}
