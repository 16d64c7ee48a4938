/**
 * What one watcher of a job is still to be sent. Transitions are kept in order, each one; progress only as the newest
 * of the newest revision. Revisions never go down, and one is repeated only with newer progress.
 */

export interface WatchEntry<T> {
  readonly revision: bigint;
  readonly terminal: boolean;
  readonly payload: T;
}

/** What became of an offered entry. `replaced`: one that was not sent yet gave way to it. */
export type Offered = "queued" | "replaced" | "stale" | "overflow";

export class WatchQueue<T> {
  readonly #limit: number;
  readonly #transitions: WatchEntry<T>[] = [];
  #progress: WatchEntry<T> | undefined;
  /** Highest revision that was accepted. */
  #newest: bigint;

  /** Only revisions above `after` are accepted; at most `limit` transitions wait. */
  constructor(limit: number, after: bigint) {
    this.#limit = limit;
    this.#newest = after;
  }

  get size(): number {
    return this.#transitions.length + (this.#progress ? 1 : 0);
  }

  /** Would a transition to this revision be news? */
  wants(revision: bigint): boolean {
    return revision > this.#newest;
  }

  offerTransition(entry: WatchEntry<T>): Offered {
    if (entry.revision <= this.#newest) return "stale";
    if (this.#transitions.length >= this.#limit) return "overflow";
    this.#newest = entry.revision;
    const replaced = this.#progress !== undefined;
    this.#progress = undefined;
    this.#transitions.push(entry);
    return replaced ? "replaced" : "queued";
  }

  /** Progress of the newest revision; that it is newer than what was offered before, the caller knows. */
  offerProgress(entry: WatchEntry<T>): Offered {
    if (entry.revision !== this.#newest) return "stale";
    const replaced = this.#progress !== undefined;
    this.#progress = entry;
    return replaced ? "replaced" : "queued";
  }

  /** The job as it is now: what waits up to its revision is part of it. */
  offerSnapshot(entry: WatchEntry<T>): Offered {
    let covered = 0;
    while ((this.#transitions[covered]?.revision ?? entry.revision + 1n) <= entry.revision) covered += 1;
    this.#transitions.splice(0, covered);
    if (this.#progress && this.#progress.revision <= entry.revision) this.#progress = undefined;
    if (this.#transitions.length >= this.#limit) return "overflow";
    this.#transitions.unshift(entry);
    if (entry.revision > this.#newest) this.#newest = entry.revision;
    return "queued";
  }

  shift(): WatchEntry<T> | undefined {
    const transition = this.#transitions.shift();
    if (transition) return transition;
    const progress = this.#progress;
    this.#progress = undefined;
    return progress;
  }
}
