import TinyQueue from "tinyqueue";
import type { Cancel, Clock } from "../../platform/clock.ts";

interface Timer {
  readonly atMs: number;
  readonly jobId: string;
}

/** At most this long between two looks at the clock, so that a moved clock or a slept laptop is noticed. */
const MAX_WAIT_MS = 1_000;
/** Due jobs dealt with in one turn of the event loop. */
const SLICE = 1_000;
/** With more timers than twice the jobs, those of jobs that ended are looked for. */
const PRUNE_FROM = 10_000;

/** Wakes jobs at their times: one heap, one timer. A job that changed in between is met by its state. */
export class Timers {
  #queue = new TinyQueue<Timer>([], byTime);
  readonly #clock: Clock;
  readonly #onDue: (jobIds: readonly string[]) => void;
  readonly #isWanted: (jobId: string) => boolean;
  #cancel: Cancel | undefined;
  #pruneAt = PRUNE_FROM;
  #stopped = false;

  /**
   * @param onDue called with jobs whose time has come, at most 1,000 at once
   * @param isWanted false: the job has ended, its timers may be dropped
   */
  constructor(
    clock: Clock,
    onDue: (jobIds: readonly string[]) => void,
    isWanted: (jobId: string) => boolean,
  ) {
    this.#clock = clock;
    this.#onDue = onDue;
    this.#isWanted = isWanted;
  }

  get size(): number {
    return this.#queue.length;
  }

  add(jobId: string, at: Date): void {
    const earliest = this.#queue.peek()?.atMs ?? Number.POSITIVE_INFINITY;
    this.#queue.push({ atMs: at.getTime(), jobId });
    if (at.getTime() < earliest || !this.#cancel) this.#arm();
    if (this.#queue.length >= this.#pruneAt) this.#prune();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Jobs that end long before their total timeout would leave their timers behind. */
  #prune(): void {
    const wanted = this.#queue.data.filter(({ jobId }) => this.#isWanted(jobId));
    this.#queue = new TinyQueue(wanted, byTime);
    this.#pruneAt = Math.max(PRUNE_FROM, 2 * wanted.length);
  }

  #arm(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const next = this.#queue.peek();
    if (!next || this.#stopped) return;
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(0, next.atMs - this.#clock.now()));
    this.#cancel = this.#clock.after(waitMs, () => this.#fire());
  }

  #fire(): void {
    const now = this.#clock.now();
    const due: string[] = [];
    while (due.length < SLICE && (this.#queue.peek()?.atMs ?? Number.POSITIVE_INFINITY) <= now) {
      const timer = this.#queue.pop();
      if (timer) due.push(timer.jobId);
    }
    this.#cancel = undefined;
    if (due.length > 0) this.#onDue(due);
    this.#arm();
  }
}

function byTime(a: Timer, b: Timer): number {
  return a.atMs - b.atMs;
}
