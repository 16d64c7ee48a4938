import { readDelimited } from "../../../platform/delimited.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { ItemsNats } from "../../../platform/nats/job-items.ts";
import type { ObjectStore } from "../../../platform/nats/objects.ts";
import type { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import type { BatchDeleteResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import {
  DELETE_START,
  type DeleteCheckpoint,
  decodeDeleteCheckpoint,
  encodeDeleteCheckpoint,
} from "../domain/delete-checkpoint.ts";
import type { Candidate } from "../domain/delete-plan.ts";
import { Cancelled, type Handler, type JobContext, type LeasedJob } from "../handler.ts";
import { ItemOutcomes, noFailedItems } from "../item-outcomes.ts";
import { DocumentRemover, MAX_BATCH, type Removed } from "./document-remover.ts";

export interface BatchDeleteOptions {
  readonly index: IndexServiceClient;
  readonly objects: Pick<ObjectStore, "read">;
  /** Where the outcomes of ids are kept. */
  readonly nats: ItemsNats;
}

type DeleteJob = LeasedJob<"batchDelete">;
type Counts = { -readonly [K in keyof DeleteCheckpoint]: DeleteCheckpoint[K] };

/** Ids to remove, and where the job goes on behind them. */
interface Batch {
  readonly candidates: readonly Candidate[];
  readonly next: Partial<DeleteCheckpoint> & { readonly ordinal: number };
}

interface Run {
  readonly job: DeleteJob;
  readonly counts: Counts;
  readonly items: ItemOutcomes;
  readonly remover: DocumentRemover;
}

/** Failed ids that an attempt names in its log. */
const MAX_LOGGED = 100;

/**
 * Removes documents by id, or all that pass a filter, in batches under the lease's fence; by id also from several libraries,
 * where an id has to be in exactly one. What is to be removed is stored
 * before it is, so that an attempt that repeats a batch knows which ids it removed itself from those that never were there.
 */
export class BatchDelete implements Handler<"batchDelete"> {
  readonly type = "batch_delete";
  readonly kind = "batchDelete";
  readonly #options: BatchDeleteOptions;

  constructor(options: BatchDeleteOptions) {
    this.#options = options;
  }

  async run(job: DeleteJob, context: JobContext): Promise<BatchDeleteResult> {
    const { library, jobId, lease } = job;
    const { signal } = context;
    const { index, nats } = this.#options;
    const libraries = library?.library.libraryId ?? job.libraries.map((each) => each.library.libraryId);
    const items = new ItemOutcomes({ nats, jobId, lease, signal });
    const remover = new DocumentRemover({ index, items, libraries, jobId, lease, signal });
    const counts = { ...(await startOf(job, items, context)) };
    context.log.info(startText(job, counts));
    try {
      for await (const { candidates, next } of this.#batches({ job, counts, items, remover })) {
        if (signal.aborted) throw signal.reason;
        const removed = await remover.remove(candidates);
        logFailed(removed, counts, context);
        counts.failed += failedBy(removed, job);
        counts.deleted += removed.deleted.length;
        Object.assign(counts, next);
        context.progress(progressOf(counts, job));
        await context.checkpoint(encodeDeleteCheckpoint(counts));
      }
      context.log.info(progressOf(counts, job).message);
      return resultOf(counts);
    } catch (error) {
      throw signal.aborted && error === signal.reason ? new Cancelled(resultOf(counts)) : error;
    } finally {
      remover.close();
    }
  }

  #batches(run: Run): AsyncGenerator<Batch> {
    const { spec, failedItemsOnly, payloadObject } = run.job;
    if (failedItemsOnly) return failedBatches(run);
    if (spec.filter) return filterBatches(run, spec.filter);
    if (payloadObject === "") throw new ArrwError("INVALID_ARGUMENT", "a deletion needs ids or a filter");
    const { nextOffset } = run.counts;
    return idBatches(run, readDelimited(this.#options.objects.read(payloadObject, nextOffset), nextOffset));
  }
}

async function startOf(job: DeleteJob, items: ItemOutcomes, context: JobContext): Promise<DeleteCheckpoint> {
  const { checkpoint, failedItemsOnly, leasesBefore } = job;
  const decoded = decodeDeleteCheckpoint(checkpoint);
  if (failedItemsOnly) {
    // Counted from the items themselves: what an attempt before has removed is no longer failed.
    const { ok: deleted, failed } = await items.totals();
    if (!decoded && failed === 0) throw noFailedItems();
    const start = { ...(decoded ?? DELETE_START), deleted, failed };
    // So that a later attempt, which may find none failed any more, knows that there were some.
    if (!decoded) await context.checkpoint(encodeDeleteCheckpoint(start));
    return start;
  }
  if (decoded) return decoded;
  // Of a run before. Nothing of this one is lost: it begins with a checkpoint.
  if (leasesBefore > 0) await items.clear();
  await context.checkpoint(encodeDeleteCheckpoint(DELETE_START));
  return DELETE_START;
}

/** By how much a batch changes the number of failed items; a run of those has counted them before. */
function failedBy({ deleted, unknown, ambiguous }: Removed, { failedItemsOnly }: DeleteJob): number {
  const failed = [...unknown, ...ambiguous];
  if (!failedItemsOnly) return failed.length;
  return (
    failed.filter(({ state }) => state !== "new").length -
    deleted.filter(({ state }) => state === "new").length
  );
}

/** What an attempt before has begun to remove, or has removed without counting it. */
async function leftOf(items: ItemOutcomes, ordinal: number): Promise<Omit<Candidate, "ordinal"> | undefined> {
  const item = (await items.get(ordinal))?.item;
  if (!item || item.outcome === "failed") return undefined;
  const { documentId, title, libraryId, outcome } = item;
  return { documentId, title, libraryId, state: outcome === "ok" ? "done" : "begun" };
}

/** The ids of the payload. What a batch before has begun is found among the items. */
async function* idBatches(
  { counts, items }: Run,
  payload: AsyncIterable<{ readonly bytes: Uint8Array; readonly nextOffset: number }>,
): AsyncGenerator<Batch> {
  let { ordinal } = counts;
  let candidates: Candidate[] = [];
  let nextOffset = counts.nextOffset;
  for await (const message of payload) {
    const documentId = Buffer.from(message.bytes).toString();
    const known = await leftOf(items, ordinal);
    candidates.push({ ordinal, ...(known ?? { documentId, title: "", libraryId: "", state: "new" }) });
    ordinal += 1;
    nextOffset = message.nextOffset;
    if (candidates.length < MAX_BATCH) continue;
    yield { candidates, next: { ordinal, nextOffset } };
    candidates = [];
  }
  if (candidates.length > 0) yield { candidates, next: { ordinal, nextOffset } };
}

/**
 * What passes the filter, in one pass over the documents by id: those that are written meanwhile go if the pass has not
 * come to their ids yet.
 */
async function* filterBatches({ counts, items, remover }: Run, filter: Filter): AsyncGenerator<Batch> {
  let { ordinal, pageToken } = counts;
  const left: Candidate[] = [];
  for (let known = await leftOf(items, ordinal); known; known = await leftOf(items, ++ordinal)) {
    left.push({ ordinal, ...known });
  }
  if (left.length > 0) yield { candidates: left, next: { ordinal } };
  do {
    const page = await remover.list(filter, pageToken);
    pageToken = page.nextPageToken;
    const candidates = page.documents.map(({ documentId, title }): Candidate => {
      return { ordinal: ordinal++, documentId, title, libraryId: "", state: "found" };
    });
    if (candidates.length > 0) yield { candidates, next: { ordinal, pageToken } };
  } while (pageToken !== "");
}

/** The items that failed, and those that nobody knows of how they ended. */
async function* failedBatches({ counts, items }: Run): AsyncGenerator<Batch> {
  let candidates: Candidate[] = [];
  let { ordinal } = counts;
  for (let stored = await items.get(ordinal); stored?.item; stored = await items.get(++ordinal)) {
    const { documentId, title, libraryId, outcome } = stored.item;
    if (outcome === "ok") continue;
    candidates.push({ ordinal, documentId, title, libraryId, state: outcome === "" ? "begun" : "new" });
    if (candidates.length < MAX_BATCH) continue;
    yield { candidates, next: { ordinal: ordinal + 1 } };
    candidates = [];
  }
  if (candidates.length > 0) yield { candidates, next: { ordinal } };
}

function startText({ spec, itemCount, failedItemsOnly }: DeleteJob, { ordinal }: DeleteCheckpoint): string {
  const what = spec.filter ? "what passes the filter" : `${numberText(itemCount)} documents`;
  const which = failedItemsOnly ? "what failed before" : what;
  return `deleting ${which}${ordinal > 0 ? `, from number ${numberText(ordinal)} on` : ""}`;
}

function logFailed({ unknown, ambiguous }: Removed, counts: DeleteCheckpoint, { log }: JobContext): void {
  const room = Math.max(0, MAX_LOGGED - counts.failed);
  const why = new Map<Candidate, string>();
  for (const each of unknown) why.set(each, "is not there");
  for (const each of ambiguous) why.set(each, "is in more than one library");
  for (const [{ ordinal, documentId }, text] of [...why].slice(0, room)) {
    log.warn({ ordinal, document_id: documentId }, `document ${ordinal} ${text}`);
  }
}

function progressOf({ deleted, failed }: DeleteCheckpoint, { itemCount }: DeleteJob) {
  const bad = failed > 0 ? `, ${numberText(failed)} not there` : "";
  return {
    current: deleted + failed,
    total: itemCount,
    message: `${numberText(deleted)} documents deleted${bad}`,
  };
}

const numberText = (value: number): string => value.toLocaleString("en-US");

function resultOf({ deleted, failed }: DeleteCheckpoint): BatchDeleteResult {
  return { deleted: BigInt(deleted), failed: BigInt(failed) };
}
