import { type Limit, limitsOf } from "./domain/limits.ts";
import type { Entry } from "./jobs.ts";

/** A job that has limits, from when it is ready until it neither waits nor runs. */
interface Claim {
  readonly entry: Entry;
  readonly limits: readonly Limit[];
  /** Limits it holds: the first so many. */
  held: number;
  /** It runs; until then others must leave room for it. */
  started: boolean;
  left: boolean;
}

interface Key {
  holders: number;
  /** Limits of the holders that have not started, and how many have each: jobs with one key may name different ones. */
  readonly starting: Map<number, number>;
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
    if (known && !known.started) return known.held === known.limits.length;
    if (known && this.#mayStartAgain(known)) return true;
    if (known) this.leave(entry.jobId);
    const limits = entry.head ? limitsOf(entry.head) : [];
    if (limits.length === 0) return true;
    const claim = { entry, limits, held: 0, started: false, left: false };
    this.#claims.set(entry.jobId, claim);
    return this.#advance(claim);
  }

  /** A job runs already, whatever the limits say: after a takeover. */
  hold(entry: Entry): void {
    const limits = entry.head ? limitsOf(entry.head) : [];
    if (limits.length === 0 || this.#claims.has(entry.jobId)) return;
    for (const { key } of limits) this.#key(key).holders += 1;
    this.#claims.set(entry.jobId, { entry, limits, held: limits.length, started: true, left: false });
  }

  /** A job that was admitted runs now: those whose limits are higher than its own need not wait for that any more. */
  started(jobId: string): void {
    if (this.#claims.size === 0) return;
    const claim = this.#claims.get(jobId);
    if (!claim || claim.started) return;
    claim.started = true;
    for (const limit of claim.limits) {
      const key = this.#key(limit.key);
      count(key.starting, limit.atMost, -1);
      this.#admitNext(limit.key, key);
    }
  }

  /** A job that ran is ready again. It keeps what it holds where too many others have not started meanwhile. */
  #mayStartAgain(claim: Claim): boolean {
    if (claim.limits.some(({ key, atMost }) => this.#key(key).holders > atMost)) return false;
    claim.started = false;
    for (const { key, atMost } of claim.limits) count(this.#key(key).starting, atMost, 1);
    return true;
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
    for (const limit of claim.limits.slice(0, claim.held)) this.#release(limit, claim.started);
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
      if (key.live > 0 || !hasRoom(key, limit)) {
        key.waiting.push(claim);
        key.live += 1;
        return false;
      }
      take(key, limit, claim);
    }
    return true;
  }

  #release(limit: Limit, started: boolean): void {
    const key = this.#key(limit.key);
    key.holders -= 1;
    if (!started) count(key.starting, limit.atMost, -1);
    this.#admitNext(limit.key, key);
  }

  #admitNext(name: string, key: Key): void {
    for (;;) {
      const next = key.waiting[key.first];
      if (!next) break;
      const limit = next.limits[next.held];
      if (!next.left) {
        // First come, first served: a later one with a higher limit does not overtake.
        if (!limit || !hasRoom(key, limit)) break;
        key.live -= 1;
        take(key, limit, next);
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
      key = { holders: 0, starting: new Map(), waiting: [], first: 0, live: 0 };
      this.#keys.set(name, key);
    }
    return key;
  }
}

/** One more fits, by its own limit and by those of the holders that have not started. */
function hasRoom(key: Key, limit: Limit): boolean {
  let atMost = limit.atMost;
  for (const starting of key.starting.keys()) atMost = Math.min(atMost, starting);
  return key.holders < atMost;
}

function take(key: Key, limit: Limit, claim: Claim): void {
  key.holders += 1;
  claim.held += 1;
  count(key.starting, limit.atMost, 1);
}

function count(counts: Map<number, number>, limit: number, delta: number): void {
  const now = (counts.get(limit) ?? 0) + delta;
  if (now === 0) counts.delete(limit);
  else counts.set(limit, now);
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
