import TinyQueue from "tinyqueue";

interface Timer {
  readonly atMs: number;
  readonly jobId: string;
}

/** At most this long between two looks at the clock, so that a moved clock or a slept laptop is noticed. */
const MAX_WAIT_MS = 1_000;
/** Due jobs dealt with in one turn of the event loop. */
const SLICE = 1_000;

/** Wakes scheduled jobs at their time: one heap, one timer. A job that changed in between is met by its state. */
export class Timers {
  readonly #queue = new TinyQueue<Timer>([], (a, b) => a.atMs - b.atMs);
  readonly #onDue: (jobIds: readonly string[]) => void;
  #timeout: NodeJS.Timeout | undefined;
  #stopped = false;

  /** @param onDue called with jobs whose time has come, at most 1,000 at once */
  constructor(onDue: (jobIds: readonly string[]) => void) {
    this.#onDue = onDue;
  }

  get size(): number {
    return this.#queue.length;
  }

  add(jobId: string, at: Date): void {
    const earliest = this.#queue.peek()?.atMs ?? Number.POSITIVE_INFINITY;
    this.#queue.push({ atMs: at.getTime(), jobId });
    if (at.getTime() < earliest || !this.#timeout) this.#arm();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timeout);
  }

  #arm(): void {
    clearTimeout(this.#timeout);
    this.#timeout = undefined;
    const next = this.#queue.peek();
    if (!next || this.#stopped) return;
    const waitMs = Math.min(MAX_WAIT_MS, Math.max(0, next.atMs - Date.now()));
    this.#timeout = setTimeout(() => this.#fire(), waitMs);
  }

  #fire(): void {
    const now = Date.now();
    const due: string[] = [];
    while (due.length < SLICE && (this.#queue.peek()?.atMs ?? Number.POSITIVE_INFINITY) <= now) {
      const timer = this.#queue.pop();
      if (timer) due.push(timer.jobId);
    }
    this.#timeout = undefined;
    if (due.length > 0) this.#onDue(due);
    this.#arm();
  }
}
