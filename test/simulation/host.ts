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
  readonly seed: number;
  /** How wrong its wall clock is. */
  skewMs: number;
  #state: "up" | "frozen" | "dead" = "up";
  #heldTimers: (() => void)[] = [];
  #heldIo: (() => void)[] = [];

  constructor(timeline: Timeline, name: string, seed: number, skewMs = 0) {
    this.timeline = timeline;
    this.name = name;
    this.seed = seed;
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

  /** A timer's time has come. */
  fire(timer: Timer): void {
    if (this.#state === "up") timer.run();
    else if (this.#state === "frozen") this.#heldTimers.push(() => timer.run());
  }

  readonly clock: Clock = {
    now: () => Math.floor(START_MS + this.timeline.now + this.skewMs),
    monotonic: () => this.timeline.now,
    after: (ms, callback) => new Timer(this, ms, false, callback).cancel,
    every: (ms, callback) => new Timer(this, ms, true, callback).cancel,
  };
}

/** Thousands are made in a run, hence a class: closures cost more. */
class Timer {
  readonly #host: Host;
  readonly #ms: number;
  readonly #again: boolean;
  readonly #callback: () => void;
  #live = true;
  #cancel: Cancel | undefined;

  constructor(host: Host, ms: number, again: boolean, callback: () => void) {
    this.#host = host;
    this.#ms = Math.max(1, ms);
    this.#again = again;
    this.#callback = callback;
    this.#arm();
  }

  /** A timer is up to a millisecond late. */
  #arm(): void {
    const { timeline, random } = this.#host;
    this.#cancel = timeline.at(timeline.now + this.#ms + random.next(), () => this.#host.fire(this));
  }

  run(): void {
    if (!this.#live) return;
    this.#callback();
    if (this.#again && this.#live) this.#arm();
  }

  readonly cancel = (): void => {
    this.#live = false;
    this.#cancel?.();
  };
}
