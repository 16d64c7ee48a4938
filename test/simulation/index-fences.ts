import { unavailable } from "../../platform/errors.ts";
import { beginLease, endLease, type FenceRow, refuseMutation } from "../../services/index/domain/fence.ts";
import type { Host } from "./host.ts";
import type { Random } from "./random.ts";

/** Says whether a lease may change what it asks for; the index's own rule unless a test plants another. */
export type FenceRule = (row: FenceRow | undefined, lease: bigint) => boolean;

/** Who calls, and where the call's delays come from. */
export interface Caller {
  readonly host: Host;
  readonly random: Random;
}

const CALL_TIMEOUT_MS = 2_000;

/** The index service, as far as fences go: one row per job, and who has written. */
export class IndexFences {
  readonly #rows = new Map<string, FenceRow>();
  readonly #mayWrite: FenceRule;
  readonly #onWritten: (jobId: string, lease: bigint) => void;
  #away = false;

  constructor(
    onWritten: (jobId: string, lease: bigint) => void,
    mayWrite: FenceRule = (row, lease) => refuseMutation(row, lease) === undefined,
  ) {
    this.#onWritten = onWritten;
    this.#mayWrite = mayWrite;
  }

  set away(away: boolean) {
    this.#away = away;
  }

  /** @returns false: refused */
  begin({ host, random }: Caller, jobId: string, lease: bigint): Promise<boolean> {
    return this.#call(host, random, () => {
      const decision = beginLease(this.#rows.get(jobId), lease, host.timeline.now);
      if (decision.row) this.#rows.set(jobId, decision.row);
      return decision.row !== undefined;
    });
  }

  /** A change of the library under a lease. @returns false: refused */
  write({ host, random }: Caller, jobId: string, lease: bigint): Promise<boolean> {
    return this.#call(host, random, () => {
      if (!this.#mayWrite(this.#rows.get(jobId), lease)) return false;
      this.#onWritten(jobId, lease);
      return true;
    });
  }

  end({ host, random }: Caller, jobId: string, lease: bigint): Promise<boolean> {
    return this.#call(host, random, () => {
      const row = endLease(this.#rows.get(jobId), lease, host.timeline.now);
      if (row) this.#rows.set(jobId, row);
      return true;
    });
  }

  #call(host: Host, random: Random, atIndex: () => boolean): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const { timeline } = host;
      timeline.at(timeline.now + random.latency(), () => {
        if (this.#away) {
          host.ioAfter(CALL_TIMEOUT_MS, () => reject(unavailable("the index does not answer")));
          return;
        }
        const answer = atIndex();
        host.ioAfter(random.latency(), () => resolve(answer));
      });
    });
  }
}
