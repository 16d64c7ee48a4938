import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Counter, type Registry } from "../../platform/metrics.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { AppendError } from "../../platform/nats/publisher.ts";
import { LeaseLog, type LineBatch, type LineOutlet, type LoggedLease } from "./lease-log.ts";

export interface JobLogsOptions {
  readonly nats: Pick<Nats, "append" | "onReconnect">;
  readonly log: Logger;
  readonly registry: Registry;
}

const FLUSH_MS = 250;
/** Of all leases together. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
const MAX_IN_FLIGHT = 64;
const APPEND_TIMEOUT_MS = 5_000;
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 5_000;

/**
 * Stores what handlers log in the stream of logs, soon and in order. It never makes a handler wait: what can't be stored
 * waits in memory, within bounds, and the oldest lines give way.
 */
export class JobLogs implements Part {
  readonly name = "job logs";
  readonly #options: JobLogsOptions;
  readonly #outlet: LineOutlet;
  readonly #stored: Counter;
  readonly #dropped: Counter<"reason">;
  /** With lines that are in no batch yet. */
  readonly #opened = new Set<LeaseLog>();
  /** With batches that can be sent. */
  readonly #ready = new Set<LeaseLog>();
  #waitingBytes = 0;
  #inFlight = 0;
  #timer: NodeJS.Timeout | undefined;
  #pause: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #idle: (() => void)[] = [];
  #forgetReconnect: (() => void) | undefined;
  #stopped = false;

  constructor(options: JobLogsOptions) {
    this.#options = options;
    const registers = [options.registry];
    this.#stored = new Counter({
      name: "arrw_worker_log_lines_total",
      help: "Lines of jobs' logs stored",
      registers,
    });
    this.#dropped = new Counter({
      name: "arrw_worker_log_lines_dropped_total",
      help: "Lines of jobs' logs left out: above a job's rate, or NATS took none for too long",
      labelNames: ["reason"],
      registers,
    });
    this.#outlet = {
      onOpened: (log) => this.#onOpened(log),
      onSealed: (log) => {
        this.#ready.add(log);
        this.#send();
      },
      admit: (bytes) => this.#admit(bytes),
      onGone: (bytes) => {
        this.#waitingBytes -= bytes;
      },
      onDropped: (lines, reason) => this.#dropped.inc({ reason }, lines),
    };
  }

  async start(): Promise<void> {
    this.#forgetReconnect = this.#options.nats.onReconnect(() => this.#resume());
  }

  /** Gives up what is not stored yet; `flush` before. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forgetReconnect?.();
    clearTimeout(this.#timer);
    clearTimeout(this.#pause);
    this.#opened.clear();
    this.#ready.clear();
    this.#resolveIdle();
  }

  /** For a lease that has something to log. */
  open(lease: LoggedLease): LeaseLog {
    return new LeaseLog(lease, this.#outlet);
  }

  /** Resolves when all is stored, or after `timeoutMs`; says which. */
  async flush(timeoutMs: number): Promise<boolean> {
    this.#sealAll();
    if (this.#isIdle()) return true;
    let timer: NodeJS.Timeout | undefined;
    const idle = new Promise<boolean>((resolve) => this.#idle.push(() => resolve(true)));
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const stored = await Promise.race([idle, late]);
    clearTimeout(timer);
    return stored;
  }

  #onOpened(log: LeaseLog): void {
    if (this.#stopped) return;
    this.#opened.add(log);
    this.#timer ??= setTimeout(() => this.#sealAll(), FLUSH_MS);
  }

  #sealAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const logs = [...this.#opened];
    this.#opened.clear();
    for (const log of logs) log.seal();
  }

  /** Older lines give way to newer ones. */
  #admit(bytes: number): boolean {
    if (this.#stopped) return false;
    for (const log of this.#ready) {
      while (this.#waitingBytes + bytes > MAX_WAITING_BYTES && log.dropOldest());
      if (this.#waitingBytes + bytes <= MAX_WAITING_BYTES) break;
    }
    if (this.#waitingBytes + bytes > MAX_WAITING_BYTES) return false;
    this.#waitingBytes += bytes;
    return true;
  }

  #send(): void {
    if (this.#pause || this.#stopped) return;
    for (const log of this.#ready) {
      for (;;) {
        if (this.#inFlight >= MAX_IN_FLIGHT) return;
        const batch = log.take();
        if (!batch) break;
        void this.#append(log, batch);
      }
      // What it still has waits for what is in flight.
      this.#ready.delete(log);
    }
  }

  /** Published before this returns for the first time. */
  async #append(log: LeaseLog, batch: LineBatch): Promise<void> {
    this.#inFlight += 1;
    try {
      await this.#options.nats.append(Subject.jobLog(log.jobId), batch.bytes, {
        timeoutMs: APPEND_TIMEOUT_MS,
      });
      this.#pauseMs = FIRST_PAUSE_MS;
      this.#stored.inc(batch.lines);
      if (log.done(batch)) this.#ready.add(log);
    } catch (error) {
      this.#onFailed(log, batch, error);
    }
    this.#inFlight -= 1;
    this.#send();
    if (this.#isIdle()) this.#resolveIdle();
  }

  #onFailed(log: LeaseLog, batch: LineBatch, error: unknown): void {
    if (this.#stopped) return;
    if (error instanceof AppendError && error.kind === "rejected" && error.errCode !== 0) {
      this.#options.log.warn({ err: error, job_id: log.jobId }, "lines of a job's log were refused");
      this.#dropped.inc({ reason: "refused" }, batch.lines);
      if (log.done(batch)) this.#ready.add(log);
      return;
    }
    log.putBack(batch);
    this.#ready.add(log);
    if (this.#pause) return;
    const level = this.#pauseMs === FIRST_PAUSE_MS ? "warn" : "debug";
    this.#options.log[level]({ err: error }, "lines of jobs' logs can't be stored now; trying again");
    this.#pause = setTimeout(() => this.#resume(), this.#pauseMs);
    this.#pauseMs = Math.min(MAX_PAUSE_MS, this.#pauseMs * 2);
  }

  #resume(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#send();
  }

  #isIdle(): boolean {
    return this.#inFlight === 0 && this.#ready.size === 0;
  }

  #resolveIdle(): void {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
