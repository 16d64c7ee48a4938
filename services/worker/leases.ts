import type { HeldLease, LeaseGrant } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { AcceptedLeases } from "./accepted-leases.ts";
import type { StopReason } from "./stopped.ts";

/** A running attempt, as its lease sees it. */
export interface Running {
  stop(reason: StopReason): void;
}

interface Held {
  readonly lease: bigint;
  readonly jobId: string;
  /** Undefined once the handler has ended or was given up. */
  attempt: Running | undefined;
  /** Its outcome is stored. */
  finished: boolean;
}

/** Bounds a heartbeat to about 600 KB; running leases come first. */
const MAX_LISTED = 12_000;

/** Leases in this worker's hands: from their assignment until the scheduler has confirmed their end. */
export class Leases {
  readonly #held = new Map<number, Held>();
  readonly #accepted = new AcceptedLeases();
  #running = 0;
  #finished = 0;
  #onIdle: (() => void)[] = [];

  /** Leases whose handler has not ended. */
  get running(): number {
    return this.#running;
  }

  /** Leases whose outcome is stored and not yet confirmed. */
  get finished(): number {
    return this.#finished;
  }

  /** @returns false when the lease was ever accepted before */
  accept(grant: LeaseGrant): boolean {
    const lease = Number(grant.lease);
    if (this.#held.has(lease) || !this.#accepted.accept(lease)) return false;
    this.#held.set(lease, { lease: grant.lease, jobId: grant.jobId, attempt: undefined, finished: false });
    return true;
  }

  started(lease: bigint, attempt: Running): void {
    const held = this.#held.get(Number(lease));
    if (!held) return;
    held.attempt = attempt;
    this.#running += 1;
  }

  /** The handler has ended or was given up; the outcome is on its way. */
  ended(lease: bigint): void {
    const held = this.#held.get(Number(lease));
    if (held) this.#endRunning(held);
  }

  /** The outcome is stored. */
  stored(lease: bigint): void {
    const held = this.#held.get(Number(lease));
    if (!held || held.finished) return;
    held.finished = true;
    this.#finished += 1;
  }

  /** The scheduler says that the lease is not current: it is forgotten, and stopped if it runs. */
  disown(lease: bigint): void {
    const number = Number(lease);
    const held = this.#held.get(number);
    if (!held) return;
    this.#held.delete(number);
    if (held.finished) this.#finished -= 1;
    const { attempt } = held;
    this.#endRunning(held);
    attempt?.stop("disowned");
  }

  stop(lease: bigint, reason: StopReason): void {
    this.#held.get(Number(lease))?.attempt?.stop(reason);
  }

  stopAll(reason: StopReason): void {
    for (const { attempt } of this.#held.values()) attempt?.stop(reason);
  }

  /** What a heartbeat lists. */
  list(): HeldLease[] {
    const running: HeldLease[] = [];
    const ended: HeldLease[] = [];
    for (const { lease, jobId, attempt, finished } of this.#held.values()) {
      (attempt ? running : ended).push({ lease, jobId, finished });
    }
    return running.concat(ended).slice(0, MAX_LISTED);
  }

  /** Resolves when no handler runs. */
  async idle(): Promise<void> {
    if (this.#running > 0) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
  }

  #endRunning(held: Held): void {
    if (!held.attempt) return;
    held.attempt = undefined;
    this.#running -= 1;
    if (this.#running === 0) for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}
