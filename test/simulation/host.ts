import type { Cancel, Clock } from "../../platform/clock.ts";
import { Random } from "./random.ts";
import type { Timeline } from "./timeline.ts";

/** Unix ms at which simulations begin. */
export const START_MS = Date.UTC(2026, 0, 1);

/**
 * One process: all that happens in it goes through here, so that it can die or stand still at any moment. What comes
 * while it is frozen is held back; when it goes on, its timers come first, each once, as in Node.
 */
export class Host {
  readonly name: string;
  readonly timeline: Timeline;
  readonly random: Random;
  /** How wrong its wall clock is. */
  skewMs: number;
  #state: "up" | "frozen" | "dead" = "up";
  #heldTimers: (() => void)[] = [];
  #heldIo: (() => void)[] = [];

  constructor(timeline: Timeline, name: string, seed: number, skewMs = 0) {
    this.timeline = timeline;
    this.name = name;
    this.random = Random.of(seed, name);
    this.skewMs = skewMs;
  }

  get dead(): boolean {
    return this.#state === "dead";
  }

  get frozen(): boolean {
    return this.#state === "frozen";
  }

  kill(): void {
    this.#state = "dead";
    this.#heldTimers = [];
    this.#heldIo = [];
  }

  freeze(): void {
    if (this.#state === "up") this.#state = "frozen";
  }

  thaw(): void {
    if (this.#state !== "frozen") return;
    this.#state = "up";
    const held = [...this.#heldTimers, ...this.#heldIo];
    this.#heldTimers = [];
    this.#heldIo = [];
    for (const run of held) this.timeline.at(this.timeline.now, () => this.io(run));
  }

  /** Something reaches the process from outside. */
  io(run: () => void): void {
    if (this.#state === "up") run();
    else if (this.#state === "frozen") this.#heldIo.push(run);
  }

  /** Something reaches the process after a while. */
  ioAfter(ms: number, run: () => void): Cancel {
    return this.timeline.at(this.timeline.now + ms, () => this.io(run));
  }

  #timer(run: () => void): void {
    if (this.#state === "up") run();
    else if (this.#state === "frozen") this.#heldTimers.push(run);
  }

  readonly clock: Clock = {
    now: () => Math.floor(START_MS + this.timeline.now + this.skewMs),
    monotonic: () => this.timeline.now,
    after: (ms, callback) => {
      let live = true;
      const fire = (): void => {
        if (live) callback();
      };
      // A timer is up to a millisecond late.
      const atMs = this.timeline.now + Math.max(1, ms) + this.random.next();
      const cancel = this.timeline.at(atMs, () => this.#timer(fire));
      return () => {
        live = false;
        cancel();
      };
    },
    every: (ms, callback) => {
      let cancel: Cancel = () => undefined;
      let live = true;
      const arm = (): void => {
        cancel = this.clock.after(ms, () => {
          callback();
          if (live) arm();
        });
      };
      arm();
      return () => {
        live = false;
        cancel();
      };
    },
  };
}
