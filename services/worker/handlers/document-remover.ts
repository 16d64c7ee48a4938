import { unary } from "../../../platform/grpc/client.ts";
import type { IndexServiceClient, ListDocumentsResponse } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import { type Candidate, planDeletes } from "../domain/delete-plan.ts";
import type { ItemOutcome, ItemOutcomes } from "../item-outcomes.ts";
import { whileUnavailable } from "../retry.ts";
import { LastCall } from "./last-call.ts";

export interface DocumentRemoverOptions {
  readonly index: IndexServiceClient;
  readonly items: ItemOutcomes;
  readonly libraryId: string;
  readonly jobId: string;
  readonly lease: bigint;
  /** Aborted when the attempt has to end. */
  readonly signal: AbortSignal;
}

/** What became of a batch. */
export interface Removed {
  readonly deleted: readonly Candidate[];
  readonly unknown: readonly Candidate[];
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
    const { index, libraryId } = this.#options;
    const request = { libraryId, filter, pageSize: MAX_BATCH, pageToken, includeTexts: false };
    return this.#call((call) => unary(index, index.listDocuments, request, call));
  }

  /**
   * Removes those that are there. Which ones is stored first: an attempt that finds them begun knows that they were there.
   * @param candidates at most 1,000 @throws ArrwError
   */
  async remove(candidates: readonly Candidate[]): Promise<Removed> {
    const { index, items, libraryId, jobId, lease } = this.#options;
    const plan = planDeletes(candidates, await this.#titles(candidates));
    const unknown = plan.unknown.map(unknownItem);
    await items.put([...plan.remove.map((each) => knownItem(each, "")), ...unknown]);
    if (plan.remove.length > 0) {
      const documentIds = plan.remove.map(({ documentId }) => documentId);
      const request = { libraryId, fence: { jobId, lease }, documentIds };
      // What it reports as missing was removed by a call before, whose reply was lost, or by somebody else just now.
      await this.#call((call) => unary(index, index.deleteDocuments, request, call));
      await items.put(plan.remove.map((each) => knownItem(each, "ok")));
    }
    return { deleted: [...plan.done, ...plan.remove], unknown: plan.unknown };
  }

  /** Titles of the new ids that are there. */
  async #titles(candidates: readonly Candidate[]): Promise<Map<string, string>> {
    const fresh = candidates.filter(({ state }) => state === "new").map(({ documentId }) => documentId);
    const titles = new Map<string, string>();
    if (fresh.length === 0) return titles;
    const filter = { all: [{ field: "document_id", test: { $case: "in" as const, value: fresh } }] };
    for (let pageToken: string | undefined = ""; pageToken !== undefined; ) {
      const page: ListDocumentsResponse = await this.list(filter, pageToken);
      for (const { documentId, title } of page.documents) titles.set(documentId, title);
      pageToken = page.nextPageToken || undefined;
    }
    return titles;
  }

  #call<T>(run: (call: { timeoutMs: number; signal: AbortSignal }) => Promise<T>): Promise<T> {
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal: this.#lastCall.signal };
    return whileUnavailable(() => run(call), { forMs: CALL_FOR_MS, signal: this.#options.signal });
  }
}

function knownItem({ ordinal, documentId, title }: Candidate, outcome: "ok" | ""): ItemOutcome {
  return { ordinal, documentId, title, outcome, error: undefined, chunks: 0 };
}

function unknownItem({ ordinal, documentId, title }: Candidate): ItemOutcome {
  const error = { code: "DOCUMENT_NOT_FOUND", message: "there is no such document", retryable: false };
  return { ordinal, documentId, title, outcome: "failed", error, chunks: 0 };
}
