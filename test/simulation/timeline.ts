import TinyQueue from "tinyqueue";
import type { Cancel } from "../../platform/clock.ts";

interface Event {
  readonly atMs: number;
  readonly order: number;
  /** undefined = cancelled. */
  run: (() => void) | undefined;
}

/** Virtual time: it jumps from event to event. */
export class Timeline {
  readonly #events = new TinyQueue<Event>([], (a, b) => a.atMs - b.atMs || a.order - b.order);
  #order = 0;
  /** ms since the start. */
  now = 0;
  /** Events that ran. */
  count = 0;
  #stopped = false;

  at(atMs: number, run: () => void): Cancel {
    const event: Event = { atMs: Math.max(atMs, this.now), order: this.#order++, run };
    this.#events.push(event);
    return () => {
      event.run = undefined;
    };
  }

  /** Nothing runs any more: something is wrong. */
  stop(): void {
    this.#stopped = true;
  }

  /**
   * Runs events until `untilMs`. Between two of them all promises that are settled go on, as in a real event loop: a
   * tick is taken up only when no microtask is left.
   */
  run(untilMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const ready = Promise.resolve();
      const nextTick = (): void => process.nextTick(step);
      const step = (): void => {
        const event = this.#stopped ? undefined : this.#next(untilMs);
        if (!event?.run) {
          if (!this.#stopped) this.now = Math.max(this.now, untilMs);
          resolve();
          return;
        }
        this.now = event.atMs;
        this.count += 1;
        try {
          event.run();
        } catch (error) {
          reject(error);
          return;
        }
        ready.then(nextTick);
      };
      nextTick();
    });
  }

  #next(untilMs: number): Event | undefined {
    for (;;) {
      const first = this.#events.peek();
      if (!first || first.atMs > untilMs) return undefined;
      this.#events.pop();
      if (first.run) return first;
    }
  }
}
