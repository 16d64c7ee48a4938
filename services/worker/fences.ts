import { toArrwError } from "../../platform/errors.ts";
import { unary } from "../../platform/grpc/client.ts";
import type { Logger } from "../../platform/log.ts";
import type { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { LeaseGrant } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { isFenced } from "./failure.ts";
import type { LeasedLibrary } from "./handler.ts";
import { whileUnavailable } from "./retry.ts";

const CALL_TIMEOUT_MS = 5_000;
/** The index may be restarting. */
const BEGIN_FOR_MS = 20_000;
const END_FOR_MS = 5_000;

/** The libraries that a lease may change. */
export function librariesOf({ libraryId, libraryIds }: LeaseGrant): readonly string[] {
  return libraryId === "" ? libraryIds : [libraryId];
}

/** Opens and closes a lease's right to change its libraries. */
export class Fences {
  readonly #index: IndexServiceClient;
  readonly #log: Logger;

  constructor(index: IndexServiceClient, log: Logger) {
    this.#index = index;
    this.#log = log;
  }

  /**
   * @returns the grant's libraries; of several without those that are gone
   * @throws ArrwError NOT_FOUND (LIBRARY_NOT_FOUND), FAILED_PRECONDITION (LEASE_FENCED), UNAVAILABLE after 20 s
   */
  async begin(grant: LeaseGrant, signal: AbortSignal): Promise<LeasedLibrary[]> {
    if (grant.libraryId !== "") return [await this.#beginIn(grant.libraryId, grant, signal)];
    const begun: LeasedLibrary[] = [];
    for (const libraryId of grant.libraryIds) {
      try {
        begun.push(await this.#beginIn(libraryId, grant, signal));
      } catch (error) {
        if (toArrwError(error).reason !== "LIBRARY_NOT_FOUND") throw error;
      }
    }
    return begun;
  }

  async #beginIn(libraryId: string, grant: LeaseGrant, signal: AbortSignal): Promise<LeasedLibrary> {
    const { jobId, lease } = grant;
    const request = { libraryId, fence: { jobId, lease } };
    const { library, embeddingId } = await whileUnavailable(
      () =>
        unary(this.#index, this.#index.beginLease, request, {
          timeoutMs: CALL_TIMEOUT_MS,
          signal,
        }),
      { forMs: BEGIN_FOR_MS, signal },
    );
    if (!library) throw new Error("the index began a lease without saying of which library");
    return { library, embeddingId };
  }

  /**
   * Closes the fences, so that nothing of the attempt which is still on its way changes a library.
   * @returns false when the index did not answer: the scheduler has to close them
   */
  async end(grant: LeaseGrant): Promise<boolean> {
    const signal = AbortSignal.timeout(END_FOR_MS);
    for (const libraryId of librariesOf(grant)) {
      if (!(await this.#endIn(libraryId, grant, signal))) return false;
    }
    return true;
  }

  async #endIn(libraryId: string, { jobId, lease }: LeaseGrant, signal: AbortSignal): Promise<boolean> {
    const request = { libraryId, fence: { jobId, lease } };
    try {
      await whileUnavailable(
        () => unary(this.#index, this.#index.endLease, request, { timeoutMs: CALL_TIMEOUT_MS, signal }),
        { forMs: END_FOR_MS, signal },
      );
      return true;
    } catch (error) {
      if (isFenced(error)) return true;
      const summary = { err: error, job_id: jobId, lease: Number(lease) };
      this.#log.warn(summary, "a fence could not be closed; the scheduler closes it");
      return false;
    }
  }
}
