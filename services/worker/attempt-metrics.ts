import { Counter, Histogram, type Registry } from "../../platform/metrics.ts";

/** Counts attempts. The children of a label set are kept: to look them up would cost more than to count. */
export class AttemptMetrics {
  readonly #started: Counter<"type">;
  readonly #finished: Counter<"type" | "outcome">;
  readonly #seconds: Histogram<"type">;
  readonly #startedOf = new Map<string, Counter.Internal>();
  readonly #finishedOf = new Map<string, Counter.Internal>();
  readonly #secondsOf = new Map<string, Histogram.Internal<"type">>();

  constructor(registry: Registry) {
    const registers = [registry];
    this.#started = new Counter({
      name: "arrw_worker_attempts_started_total",
      help: "Attempts started",
      labelNames: ["type"],
      registers,
    });
    this.#finished = new Counter({
      name: "arrw_worker_attempts_finished_total",
      help: "Attempts ended: completed, failed, cancelled, released or disowned (another holds the lease)",
      labelNames: ["type", "outcome"],
      registers,
    });
    this.#seconds = new Histogram({
      name: "arrw_worker_attempt_seconds",
      help: "Duration of attempts",
      labelNames: ["type"],
      buckets: [0.001, 0.01, 0.1, 0.5, 1, 5, 10, 60, 300, 1_800, 7_200],
      registers,
    });
  }

  started(type: string): void {
    let counter = this.#startedOf.get(type);
    if (!counter) {
      counter = this.#started.labels(type);
      this.#startedOf.set(type, counter);
    }
    counter.inc();
  }

  ended(type: string, outcome: string, durationMs: number): void {
    const key = `${type} ${outcome}`;
    let counter = this.#finishedOf.get(key);
    if (!counter) {
      counter = this.#finished.labels(type, outcome);
      this.#finishedOf.set(key, counter);
    }
    counter.inc();
    let seconds = this.#secondsOf.get(type);
    if (!seconds) {
      seconds = this.#seconds.labels(type);
      this.#secondsOf.set(type, seconds);
    }
    seconds.observe(durationMs / 1000);
  }
}
