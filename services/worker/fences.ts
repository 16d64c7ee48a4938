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

/** Opens and closes a lease's right to change its library. */
export class Fences {
  readonly #index: IndexServiceClient;
  readonly #log: Logger;

  constructor(index: IndexServiceClient, log: Logger) {
    this.#index = index;
    this.#log = log;
  }

  /** @throws ArrwError NOT_FOUND (LIBRARY_NOT_FOUND), FAILED_PRECONDITION (LEASE_FENCED), UNAVAILABLE after 20 s */
  async begin(grant: LeaseGrant, signal: AbortSignal): Promise<LeasedLibrary> {
    const { libraryId, jobId, lease } = grant;
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
   * Closes the fence, so that nothing of the attempt which is still on its way changes the library.
   * @returns false when the index did not answer: the scheduler has to close it
   */
  async end(grant: LeaseGrant): Promise<boolean> {
    const { libraryId, jobId, lease } = grant;
    const request = { libraryId, fence: { jobId, lease } };
    const signal = AbortSignal.timeout(END_FOR_MS);
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
