import { ArrwError, toArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import type { IndexServiceClient, ListDocumentsResponse } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import { byLibrary, type Candidate, planDeletes } from "../domain/delete-plan.ts";
import type { ItemOutcome, ItemOutcomes } from "../item-outcomes.ts";
import { whileUnavailable } from "../retry.ts";
import { findInOne, findInSeveral, type IndexCaller, type Places } from "./document-finder.ts";
import { LastCall } from "./last-call.ts";

export interface DocumentRemoverOptions {
  readonly index: IndexServiceClient;
  readonly items: ItemOutcomes;
  /** The job's library, or those where each id is looked for. */
  readonly libraries: string | readonly string[];
  readonly jobId: string;
  readonly lease: bigint;
  /** Aborted when the attempt has to end. */
  readonly signal: AbortSignal;
}

/** What became of a batch. */
export interface Removed {
  readonly deleted: readonly Candidate[];
  readonly unknown: readonly Candidate[];
  /** In more than one library. */
  readonly ambiguous: readonly Candidate[];
}

/** Ids at a time: as many values as a filter takes. */
export const MAX_BATCH = 1_000;
const CALL_TIMEOUT_MS = 15_000;
/** The index may be restarting. */
const CALL_FOR_MS = 20_000;

/** Removes batches of documents under the job's fence, and keeps what became of each. */
export class DocumentRemover {
  readonly #options: DocumentRemoverOptions;
  readonly #lastCall: LastCall;

  constructor(options: DocumentRemoverOptions) {
    this.#options = options;
    this.#lastCall = new LastCall(options.signal);
  }

  close(): void {
    this.#lastCall.close();
  }

  /** A page of what passes the filter, without texts; may be empty before the last one. @throws ArrwError */
  list(filter: Filter, pageToken: string): Promise<ListDocumentsResponse> {
    const { index, libraries } = this.#options;
    if (typeof libraries !== "string") throw new ArrwError("INVALID_ARGUMENT", "a filter needs a library");
    const request = { libraryId: libraries, filter, pageSize: MAX_BATCH, pageToken, includeTexts: false };
    return this.#call((call) => unary(index, index.listDocuments, request, call));
  }

  /**
   * Removes those that are there. Which ones is stored first: an attempt that finds them begun knows that they were there.
   * @param candidates at most 1,000 @throws ArrwError
   */
  async remove(candidates: readonly Candidate[]): Promise<Removed> {
    const { items } = this.#options;
    const plan = planDeletes(candidates, await this.#places(candidates));
    const failed = [...plan.unknown.map(unknownItem), ...plan.ambiguous.map(ambiguousItem)];
    await items.put([...plan.remove.map((each) => knownItem(each, "")), ...failed]);
    const deleted: Candidate[] = [];
    const gone: Candidate[] = [];
    for (const [libraryId, batch] of byLibrary(plan.remove)) {
      const isThere = await this.#delete(libraryId, batch);
      (isThere ? deleted : gone).push(...batch);
    }
    if (plan.remove.length > 0) {
      await items.put([...deleted.map((each) => knownItem(each, "ok")), ...gone.map(unknownItem)]);
    }
    const { done, ambiguous } = plan;
    return { deleted: [...done, ...deleted], unknown: [...plan.unknown, ...gone], ambiguous };
  }

  /** @returns false: the library, one of several, is gone @throws ArrwError */
  async #delete(foundIn: string, batch: readonly Candidate[]): Promise<boolean> {
    const { index, libraries, jobId, lease } = this.#options;
    const isOne = typeof libraries === "string";
    if (!isOne && !libraries.includes(foundIn)) return false;
    const documentIds = batch.map(({ documentId }) => documentId);
    const request = { libraryId: isOne ? libraries : foundIn, fence: { jobId, lease }, documentIds };
    try {
      // What it reports as missing was removed by a call before, whose reply was lost, or by somebody else just now.
      await this.#call((call) => unary(index, index.deleteDocuments, request, call));
      return true;
    } catch (error) {
      if (isOne || toArrwError(error).reason !== "LIBRARY_NOT_FOUND") throw error;
      return false;
    }
  }

  /** Where the new ids are. */
  async #places(candidates: readonly Candidate[]): Promise<Places> {
    const { index, libraries } = this.#options;
    const fresh = candidates.filter(({ state }) => state === "new").map(({ documentId }) => documentId);
    if (fresh.length === 0) return new Map();
    const call: IndexCaller = (run) => this.#call(run);
    return typeof libraries === "string"
      ? findInOne(index, call, libraries, fresh)
      : findInSeveral(index, call, libraries, fresh);
  }

  #call<T>(run: (call: { timeoutMs: number; signal: AbortSignal }) => Promise<T>): Promise<T> {
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal: this.#lastCall.signal };
    return whileUnavailable(() => run(call), { forMs: CALL_FOR_MS, signal: this.#options.signal });
  }
}

function knownItem({ ordinal, documentId, title, libraryId }: Candidate, outcome: "ok" | ""): ItemOutcome {
  return { ordinal, documentId, title, libraryId, outcome, error: undefined, chunks: 0 };
}

function unknownItem({ ordinal, documentId, title }: Candidate): ItemOutcome {
  const error = { code: "DOCUMENT_NOT_FOUND", message: "there is no such document", retryable: false };
  return { ordinal, documentId, title, outcome: "failed", error, chunks: 0 };
}

function ambiguousItem({ ordinal, documentId, title }: Candidate): ItemOutcome {
  const message = "more than one library has a document of this id: name the library";
  const error = { code: "AMBIGUOUS", message, retryable: false };
  return { ordinal, documentId, title, outcome: "failed", error, chunks: 0 };
}
