/** Calls that are due at a fixed rate, whatever becomes of those before: a slow system can't slow its load down. */

export interface TimedCall {
  /** `performance.now()` when it was due. */
  readonly dueAt: number;
  /** From when it was due to its answer. */
  readonly ms: number;
  readonly error: unknown;
}

/** A system that answers nothing must not eat the bench's memory: calls above this fail at once. */
const MAX_IN_FLIGHT = 5_000;

export class OpenLoop {
  readonly calls: TimedCall[] = [];
  readonly #perSecond: number;
  readonly #run: (n: number) => Promise<unknown>;
  readonly #inFlight = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #startedAt = 0;
  #next = 0;

  constructor(perSecond: number, run: (n: number) => Promise<unknown>) {
    this.#perSecond = perSecond;
    this.#run = run;
  }

  start(): void {
    this.#startedAt = performance.now();
    this.#tick();
  }

  /** Returns when the last call is answered. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await Promise.all(this.#inFlight);
  }

  /** The calls that were due within a time. */
  between(from: number, to: number): TimedCall[] {
    return this.calls.filter(({ dueAt }) => dueAt >= from && dueAt < to);
  }

  #dueAt(n: number): number {
    return this.#startedAt + (n * 1_000) / this.#perSecond;
  }

  #tick(): void {
    while (this.#dueAt(this.#next) <= performance.now()) this.#call(this.#next++);
    const waitMs = this.#dueAt(this.#next) - performance.now();
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, waitMs));
  }

  #call(n: number): void {
    const dueAt = this.#dueAt(n);
    const done = (error?: unknown): void => {
      this.calls.push({ dueAt, ms: performance.now() - dueAt, error });
    };
    if (this.#inFlight.size >= MAX_IN_FLIGHT) {
      done(new Error(`${MAX_IN_FLIGHT} calls are in flight`));
      return;
    }
    const running: Promise<void> = this.#run(n)
      .then(
        () => done(),
        (error: unknown) => done(error ?? new Error("failed")),
      )
      .finally(() => this.#inFlight.delete(running));
    this.#inFlight.add(running);
  }
}
