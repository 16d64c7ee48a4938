import type { Cancel, Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";

/** Closes a lease's fence in a library. @throws when the index does not answer */
export type CloseFence = (libraryId: string, jobId: string, lease: bigint) => Promise<void>;

interface OpenFence {
  /** Those where it is still open. */
  readonly libraryIds: Set<string>;
  readonly lease: bigint;
}

const RETRY_MS = 1_000;
const MAX_IN_FLIGHT = 16;

/**
 * After a lease ended without its worker, its fence in the index is closed, so that a worker that was only slow can
 * change nothing any more. Repeated until the index acknowledges; the job carries it in `fence_pending`.
 */
export class Fences {
  readonly #open = new Map<string, OpenFence>();
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #close: CloseFence;
  readonly #onClosed: (jobId: string, lease: bigint) => void;
  #cancelRetry: Cancel | undefined;
  #running = false;
  #stopped = false;

  constructor(
    clock: Clock,
    log: Logger,
    close: CloseFence,
    onClosed: (jobId: string, lease: bigint) => void,
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#close = close;
    this.#onClosed = onClosed;
  }

  add(libraryIds: readonly string[], jobId: string, lease: bigint): void {
    this.#open.set(jobId, { libraryIds: new Set(libraryIds), lease });
    this.#run();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRetry?.();
  }

  #run(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    void this.#closeAll().finally(() => {
      this.#running = false;
      if (this.#open.size > 0 && !this.#stopped) {
        this.#cancelRetry = this.#clock.after(RETRY_MS, () => this.#run());
      }
    });
  }

  async #closeAll(): Promise<void> {
    const all = [...this.#open];
    for (let at = 0; at < all.length && !this.#stopped; at += MAX_IN_FLIGHT) {
      await Promise.all(
        all.slice(at, at + MAX_IN_FLIGHT).map(([jobId, fence]) => this.#closeOne(jobId, fence)),
      );
    }
  }

  async #closeOne(jobId: string, fence: OpenFence): Promise<void> {
    try {
      for (const libraryId of fence.libraryIds) {
        await this.#close(libraryId, jobId, fence.lease);
        fence.libraryIds.delete(libraryId);
      }
    } catch (error) {
      this.#log.debug(
        { err: error, job_id: jobId, lease: Number(fence.lease) },
        "closing a fence failed; trying again",
      );
      return;
    }
    if (this.#stopped) return;
    if (this.#open.get(jobId) === fence) this.#open.delete(jobId);
    this.#onClosed(jobId, fence.lease);
  }
}
