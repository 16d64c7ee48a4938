import { type JobState, PENDING } from "./domain/state.ts";
import type { Entry } from "./jobs.ts";

interface Waiting {
  readonly entry: Entry;
  /** Revision with which it became ready; another one now: it left in between. */
  readonly revision: bigint;
  readonly order: number;
}

interface Queue {
  items: Waiting[];
  head: number;
  /** Length at which those are looked for that have left. */
  trimAt: number;
}

const TRIM_FROM = 1_024;
const MAX_LOOKED_AT = 10_000;

/** Jobs that are ready to run, first come first served within a type. */
export class PendingQueue {
  readonly #types = new Map<string, Queue>();
  #order = 0;

  push(entry: Entry): void {
    const job = entry.head?.job;
    if (!job) return;
    let queue = this.#types.get(job.type);
    if (!queue) {
      queue = { items: [], head: 0, trimAt: TRIM_FROM };
      this.#types.set(job.type, queue);
    }
    queue.items.push({ entry, revision: job.revision, order: this.#order++ });
    if (queue.items.length - queue.head >= queue.trimAt) trim(queue);
  }

  /** Jobs held, some of them perhaps no longer waiting. */
  get size(): number {
    return [...this.#types.values()].reduce((sum, { items, head }) => sum + items.length - head, 0);
  }

  /** Types that have a job ready, the one that waits longest first. */
  readyTypes(): string[] {
    const ready: { type: string; order: number }[] = [];
    for (const type of this.#types.keys()) {
      const first = this.#first(type);
      if (first) ready.push({ type, order: first.order });
    }
    return ready.sort((a, b) => a.order - b.order).map(({ type }) => type);
  }

  /** Takes the first job of a type. */
  shift(type: string): Entry | undefined {
    const first = this.#first(type);
    const queue = this.#types.get(type);
    if (!first || !queue) return undefined;
    queue.head += 1;
    return first.entry;
  }

  /** The first job of a type, without taking it. */
  peek(type: string): Entry | undefined {
    return this.#first(type)?.entry;
  }

  /** The first of the next 10,000 jobs of a type that is wanted. */
  find(type: string, isWanted: (state: JobState) => boolean): Entry | undefined {
    const { items = [], head = 0 } = this.#types.get(type) ?? {};
    const end = Math.min(items.length, head + MAX_LOOKED_AT);
    for (let at = head; at < end; at++) {
      const waiting = items[at];
      const state = waiting?.entry.head;
      if (waiting && state && isWaiting(waiting) && isWanted(state)) return waiting.entry;
    }
    return undefined;
  }

  /** Drops those that have left PENDING (cancelled, deleted) on the way to the first that has not. */
  #first(type: string): Waiting | undefined {
    const queue = this.#types.get(type);
    if (!queue) return undefined;
    for (; queue.head < queue.items.length; queue.head++) {
      const waiting = queue.items[queue.head];
      if (waiting && isWaiting(waiting)) break;
    }
    const first = queue.items[queue.head];
    // Taken items are cut off now and then, so that a queue never empties at the cost of its whole length.
    if (queue.head > 1_024 && queue.head * 2 > queue.items.length) {
      queue.items = queue.items.slice(queue.head);
      queue.head = 0;
    }
    return first;
  }
}

function isWaiting({ entry, revision }: Waiting): boolean {
  const job = entry.head?.job;
  return job?.status === PENDING && job.revision === revision;
}

/** Behind one that waits for long, jobs that were cancelled meanwhile would stay in memory. */
function trim(queue: Queue): void {
  queue.items = queue.items.slice(queue.head).filter(isWaiting);
  queue.head = 0;
  queue.trimAt = Math.max(TRIM_FROM, 2 * queue.items.length);
}
