import { type Limit, limitsOf } from "./domain/limits.ts";
import type { Entry } from "./jobs.ts";

/** A job that has limits, from when it is ready until it neither waits nor runs. */
interface Claim {
  readonly entry: Entry;
  readonly limits: readonly Limit[];
  /** Limits it holds: the first so many. */
  held: number;
  left: boolean;
}

interface Key {
  holders: number;
  /** In the order in which they came; those that left are dropped on the way. */
  waiting: Claim[];
  first: number;
  /** Of the waiting ones, those that have not left. */
  live: number;
}

/**
 * Concurrency keys and the exclusivity of index jobs. A job that may not start waits in its key's line: it takes no slot
 * and is looked at only when one that holds the key ends, so any number may wait behind one key.
 */
export class Concurrency {
  readonly #claims = new Map<string, Claim>();
  readonly #keys = new Map<string, Key>();
  readonly #onAdmitted: (entry: Entry) => void;

  /** @param onAdmitted a job that waited now holds all its limits */
  constructor(onAdmitted: (entry: Entry) => void) {
    this.#onAdmitted = onAdmitted;
  }

  /** A job is ready. @returns true when it may start now; false: it is in line */
  admit(entry: Entry): boolean {
    const known = this.#claims.get(entry.jobId);
    if (known) return known.held === known.limits.length;
    const job = entry.head?.job;
    const limits = job ? limitsOf(job) : [];
    if (limits.length === 0) return true;
    const claim = { entry, limits, held: 0, left: false };
    this.#claims.set(entry.jobId, claim);
    return this.#advance(claim);
  }

  /** A job runs already, whatever the limits say: after a takeover. */
  hold(entry: Entry): void {
    const job = entry.head?.job;
    const limits = job ? limitsOf(job) : [];
    if (limits.length === 0 || this.#claims.has(entry.jobId)) return;
    for (const { key } of limits) this.#key(key).holders += 1;
    this.#claims.set(entry.jobId, { entry, limits, held: limits.length, left: false });
  }

  /** A job neither waits nor runs any more: what it held goes to the next in line. */
  leave(jobId: string): void {
    // Most jobs have no limits.
    if (this.#claims.size === 0) return;
    const claim = this.#claims.get(jobId);
    if (!claim) return;
    this.#claims.delete(jobId);
    claim.left = true;
    const waitedFor = claim.limits[claim.held];
    if (waitedFor) this.#leaveLine(waitedFor.key);
    for (const { key } of claim.limits.slice(0, claim.held)) this.#release(key);
  }

  /** What a job waits for, for people; undefined = for nothing here. */
  waitingFor(jobId: string): string | undefined {
    const claim = this.#claims.get(jobId);
    const limit = claim?.limits[claim.held];
    if (!limit) return undefined;
    const holders = this.#keys.get(limit.key)?.holders ?? 0;
    return `${limit.label}: ${holders} of ${limit.atMost} running or about to`;
  }

  /** Takes what can be taken, in order; otherwise stands in line. */
  #advance(claim: Claim): boolean {
    for (let limit = claim.limits[claim.held]; limit; limit = claim.limits[claim.held]) {
      const key = this.#key(limit.key);
      if (key.live > 0 || key.holders >= limit.atMost) {
        key.waiting.push(claim);
        key.live += 1;
        return false;
      }
      key.holders += 1;
      claim.held += 1;
    }
    return true;
  }

  #release(name: string): void {
    const key = this.#key(name);
    key.holders -= 1;
    this.#admitNext(name, key);
  }

  #admitNext(name: string, key: Key): void {
    for (;;) {
      const next = key.waiting[key.first];
      if (!next) break;
      const limit = next.limits[next.held];
      if (!next.left) {
        // First come, first served: a later one with a higher limit does not overtake.
        if (!limit || key.holders >= limit.atMost) break;
        key.holders += 1;
        key.live -= 1;
        next.held += 1;
      }
      key.first += 1;
      if (!next.left && this.#advance(next)) this.#onAdmitted(next.entry);
    }
    trim(key);
    if (key.holders === 0 && key.live === 0) this.#keys.delete(name);
  }

  #leaveLine(name: string): void {
    const key = this.#key(name);
    key.live -= 1;
    // The one that left may have kept others behind it from starting.
    this.#admitNext(name, key);
  }

  #key(name: string): Key {
    let key = this.#keys.get(name);
    if (!key) {
      key = { holders: 0, waiting: [], first: 0, live: 0 };
      this.#keys.set(name, key);
    }
    return key;
  }
}

/** Those at the front that were served, and those anywhere that left, don't stay in memory. */
function trim(key: Key): void {
  const waiting = key.waiting.length - key.first;
  if (waiting > 1_024 && waiting > 2 * key.live) {
    key.waiting = key.waiting.slice(key.first).filter((claim) => !claim.left);
    key.first = 0;
  } else if (key.first > 1_024 && key.first * 2 > key.waiting.length) {
    key.waiting = key.waiting.slice(key.first);
    key.first = 0;
  }
}
