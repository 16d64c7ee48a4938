import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";

/** "" stands for all types. */
const ALL = "";

/** What operators set for the jobs of each type; every journal batch carries it. */
export class Queues {
  readonly #queues = new Map<string, Queue>();

  constructor(queues: readonly Queue[]) {
    for (const queue of queues) this.#queues.set(queue.type, queue);
  }

  get(type: string): Queue {
    return this.#queues.get(type) ?? { type, paused: false, maxRunning: 0 };
  }

  set(queue: Queue): void {
    if (queue.paused || queue.maxRunning > 0) this.#queues.set(queue.type, queue);
    else this.#queues.delete(queue.type);
  }

  isPaused(type: string): boolean {
    // Nearly always nothing is set.
    if (this.#queues.size === 0) return false;
    return this.get(type).paused || this.get(ALL).paused;
  }

  get allPaused(): boolean {
    return this.get(ALL).paused;
  }

  /** Jobs of a type that may run at a time. */
  maxRunning(type: string): number {
    return this.#queues.get(type)?.maxRunning || Number.POSITIVE_INFINITY;
  }

  /** Those that are set. */
  list(): Queue[] {
    return [...this.#queues.values()];
  }
}
