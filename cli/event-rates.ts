const WINDOW_S = 5;

/** How often each kind of event came, a second, over the last whole seconds. Time is given in ms. */
export class EventRates {
  readonly #startedMs: number;
  /** Counts by second, newest last. */
  readonly #seconds: { readonly second: number; readonly counts: Map<string, number> }[] = [];

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  add(kind: string, nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    let last = this.#seconds.at(-1);
    if (last?.second !== second) {
      last = { second, counts: new Map() };
      this.#seconds.push(last);
      while ((this.#seconds[0]?.second ?? second) < second - WINDOW_S) this.#seconds.shift();
    }
    last.counts.set(kind, (last.counts.get(kind) ?? 0) + 1);
  }

  perSecond(kind: string, nowMs: number): number {
    const from = nowMs / 1_000 - WINDOW_S;
    const events = this.#seconds
      .filter(({ second }) => second >= from)
      .reduce((sum, { counts }) => sum + (counts.get(kind) ?? 0), 0);
    const seconds = Math.min(WINDOW_S, (nowMs - this.#startedMs) / 1_000);
    return seconds <= 0 ? 0 : events / Math.max(seconds, 1);
  }
}
