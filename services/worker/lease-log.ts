import { JobLogBatch, type JobLogLine } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BURST_BYTES, BYTES_PER_SECOND, LINES_PER_SECOND, LineRate } from "./domain/line-rate.ts";
import type { LogLevel } from "./domain/log-line.ts";

/** The lines of one lease on their way into the job's log: gathered, put into batches, numbered. */

export interface LoggedLease {
  readonly jobId: string;
  readonly lease: bigint;
  readonly attempt: number;
}

/** An encoded JobLogBatch. */
export interface LineBatch {
  readonly firstLine: number;
  readonly lines: number;
  readonly bytes: Uint8Array;
}

/** Those who send the batches. */
export interface LineOutlet {
  /** A line was added to none: `seal` it soon. */
  onOpened(log: LeaseLog): void;
  /** There is something to send. */
  onSealed(log: LeaseLog): void;
  /** More lines wait: makes room for so many bytes among all, or says that there is none. */
  admit(bytes: number): boolean;
  /** Fewer bytes wait. */
  onGone(bytes: number): void;
  onDropped(lines: number, reason: "rate" | "buffer"): void;
}

export const MAX_BATCH_LINES = 100;
export const MAX_BATCH_BYTES = 32 * 1024;
/** Waiting for NATS; what readers would get to see of a job. */
const MAX_WAITING_BYTES = BURST_BYTES;
/** A line's time, level and framing, about. */
const LINE_OVERHEAD = 32;
const NOTICE_EVERY_MS = 1_000;

export class LeaseLog {
  readonly #lease: LoggedLease;
  readonly #outlet: LineOutlet;
  readonly #rate = new LineRate(performance.now());
  #open: JobLogLine[] = [];
  #openBytes = 0;
  readonly #sealed: LineBatch[] = [];
  #sealedBytes = 0;
  #nextLine = 1;
  #inFlight = 0;
  #ended = false;
  /** Lines above the rate that nothing was said of yet. */
  #unsaid = 0;
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(lease: LoggedLease, outlet: LineOutlet) {
    this.#lease = lease;
    this.#outlet = outlet;
  }

  get jobId(): string {
    return this.#lease.jobId;
  }

  /** Whether they fit into the rate. What is said of the attempt itself always does. */
  add(level: LogLevel, texts: readonly string[], always = false): boolean {
    if (this.#ended) return false;
    const nowMs = performance.now();
    const bytes = texts.reduce((sum, text) => sum + sizeOf(text), 0);
    const urgent = level === "warn" || level === "error";
    if (!always && !this.#rate.take(texts.length, bytes, urgent, nowMs)) {
      this.#unsaid += texts.length;
      this.#outlet.onDropped(texts.length, "rate");
      return false;
    }
    if (this.#unsaid > 0 && (always || nowMs - this.#saidAtMs >= NOTICE_EVERY_MS)) this.#sayDropped(nowMs);
    for (const text of texts) this.#append(level, text);
    return true;
  }

  /** Puts what was gathered into a batch. */
  seal(): void {
    if (this.#open.length === 0) return;
    const { jobId, lease, attempt } = this.#lease;
    const lines = this.#open;
    const firstLine = this.#nextLine;
    this.#nextLine += lines.length;
    const bytes = JobLogBatch.encode({ jobId, lease, attempt, firstLine, lines }).finish();
    this.#open = [];
    this.#outlet.onGone(this.#openBytes);
    this.#openBytes = 0;
    if (!this.#outlet.admit(bytes.length)) {
      this.#outlet.onDropped(lines.length, "buffer");
      return;
    }
    this.#sealed.push({ firstLine, lines: lines.length, bytes });
    this.#sealedBytes += bytes.length;
    while (this.#sealedBytes > MAX_WAITING_BYTES && this.dropOldest());
    this.#outlet.onSealed(this);
  }

  /** The attempt is over: no more lines are taken, and what waits need not wait for what is in flight. */
  end(): void {
    if (this.#ended) return;
    if (this.#unsaid > 0) this.#sayDropped(performance.now());
    this.#ended = true;
    this.seal();
    if (this.#sealed.length > 0) this.#outlet.onSealed(this);
  }

  /**
   * The next batch to send. One at a time, so that a job's lines are stored in order; at the end all at once, so that
   * they are on their way before the attempt's outcome is.
   */
  take(): LineBatch | undefined {
    if (this.#inFlight > 0 && !this.#ended) return undefined;
    const batch = this.#sealed.shift();
    if (!batch) return undefined;
    this.#inFlight += 1;
    this.#sealedBytes -= batch.bytes.length;
    return batch;
  }

  /** It is stored, or never will be. @returns whether more can be sent */
  done(batch: LineBatch): boolean {
    this.#inFlight -= 1;
    this.#outlet.onGone(batch.bytes.length);
    return this.#sealed.length > 0;
  }

  /** It has to be sent again. */
  putBack(batch: LineBatch): void {
    this.#inFlight -= 1;
    const at = this.#sealed.findIndex(({ firstLine }) => firstLine > batch.firstLine);
    this.#sealed.splice(at < 0 ? this.#sealed.length : at, 0, batch);
    this.#sealedBytes += batch.bytes.length;
  }

  /** @returns false when nothing waits */
  dropOldest(): boolean {
    const batch = this.#sealed.shift();
    if (!batch) return false;
    this.#sealedBytes -= batch.bytes.length;
    this.#outlet.onGone(batch.bytes.length);
    this.#outlet.onDropped(batch.lines, "buffer");
    return true;
  }

  #append(level: LogLevel, text: string): void {
    const size = sizeOf(text);
    if (!this.#outlet.admit(size)) {
      this.#outlet.onDropped(1, "buffer");
      return;
    }
    if (this.#openBytes + size > MAX_BATCH_BYTES) this.seal();
    this.#open.push({ at: new Date(), level, text });
    this.#openBytes += size;
    if (this.#open.length >= MAX_BATCH_LINES) this.seal();
    else if (this.#open.length === 1) this.#outlet.onOpened(this);
  }

  #sayDropped(nowMs: number): void {
    const lines = this.#unsaid === 1 ? "1 line" : `${this.#unsaid} lines`;
    const rate = `${LINES_PER_SECOND} lines or ${BYTES_PER_SECOND / 1_024} KiB a second`;
    this.#unsaid = 0;
    this.#saidAtMs = nowMs;
    this.#append("warn", `${lines} left out: more than ${rate}`);
  }
}

function sizeOf(text: string): number {
  return Buffer.byteLength(text) + LINE_OVERHEAD;
}
