import { backoffMs } from "./retry-delay.ts";

/** It would not be this call's turn in time. */
export class TooBusy extends Error {
  /** Until the provider may be called again, 0 = now. */
  readonly pausedMs: number;

  constructor(pausedMs: number) {
    super("too many calls");
    this.pausedMs = pausedMs;
  }
}

interface Waiter {
  /** By performance.now(). */
  readonly untilMs: number;
  readonly start: () => void;
  readonly giveUp: () => void;
}

const BACKOFF = { firstMs: 1_000, maxMs: 30_000 };
/** Callers of several processes that were told the same time shall not all come at once. */
const SPREAD = 0.1;
const SHORTEST_PAUSE_MS = 50;

/**
 * The calls of this process to one provider: so many at a time, first come, first served. When the provider says "too
 * many", all of them wait and half as many go on after that; each success lets a little more through, up to the limit.
 */
export class CallLimiter {
  readonly #max: number;
  readonly #random: () => number;
  readonly #waiters = new Set<Waiter>();
  #allowed: number;
  #running = 0;
  #pausedUntilMs = 0;
  #refusals = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(max: number, random: () => number = Math.random) {
    this.#max = max;
    this.#allowed = max;
    this.#random = random;
  }

  /** Calls that may run side by side now. */
  get allowed(): number {
    return Math.max(1, Math.floor(this.#allowed));
  }

  /**
   * Runs `call` when it is its turn.
   * @param maxWaitMs for the turn @throws what `call` throws, TooBusy, or the signal's reason
   */
  async run<T>(call: () => Promise<T>, signal: AbortSignal, maxWaitMs: number): Promise<T> {
    await this.#turn(signal, maxWaitMs);
    try {
      return await call();
    } finally {
      this.#running -= 1;
      this.#startWaiting();
    }
  }

  /** A call went well. */
  succeeded(): void {
    this.#refusals = 0;
    this.#allowed = Math.min(this.#max, this.#allowed + 1 / this.#allowed);
  }

  /**
   * A call was refused because there are too many.
   * @param askedMs what the provider asked to wait @returns how long all calls wait now, ms
   */
  refused(askedMs: number | undefined): number {
    const nowMs = performance.now();
    // Of calls that were sent together all are refused; they count once.
    if (nowMs >= this.#pausedUntilMs) {
      this.#allowed = Math.max(1, this.#allowed / 2);
      this.#refusals += 1;
    }
    const waitMs =
      askedMs === undefined
        ? backoffMs(this.#refusals, BACKOFF, this.#random())
        : askedMs * (1 + SPREAD * this.#random());
    const untilMs = nowMs + Math.max(SHORTEST_PAUSE_MS, waitMs);
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, untilMs);
    this.#startWaiting();
    return this.#pausedUntilMs - nowMs;
  }

  get #pausedMs(): number {
    return Math.max(0, this.#pausedUntilMs - performance.now());
  }

  async #turn(signal: AbortSignal, maxWaitMs: number): Promise<void> {
    if (signal.aborted) throw signal.reason;
    await new Promise<void>((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#waiters.delete(waiter);
        // A limiter that nobody waits for holds nothing.
        if (this.#waiters.size === 0) clearTimeout(this.#timer);
      };
      const waiter: Waiter = {
        untilMs: performance.now() + maxWaitMs,
        start: () => {
          leave();
          resolve();
        },
        giveUp: () => {
          leave();
          reject(new TooBusy(this.#pausedMs));
        },
      };
      const onAbort = (): void => {
        leave();
        reject(signal.reason);
      };
      const timer = setTimeout(waiter.giveUp, maxWaitMs);
      signal.addEventListener("abort", onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#startWaiting();
    });
  }

  #startWaiting(): void {
    const paused = this.#pausedMs > 0;
    for (const waiter of this.#waiters) {
      // Those whose time ends before the pause need not wait for that.
      if (paused && waiter.untilMs <= this.#pausedUntilMs) waiter.giveUp();
      else if (!paused && this.#running < this.allowed) {
        this.#running += 1;
        waiter.start();
      }
    }
    clearTimeout(this.#timer);
    if (this.#waiters.size > 0 && paused) {
      this.#timer = setTimeout(() => this.#startWaiting(), Math.ceil(this.#pausedMs));
    }
  }
}
