import type { CreateProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { ItemsNats } from "../../../platform/nats/job-items.ts";
import type { ObjectStore } from "../../../platform/nats/objects.ts";
import type { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { BatchImportResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { chunkingOptions } from "../domain/document.ts";
import {
  decodeCheckpoint,
  encodeCheckpoint,
  IMPORT_START,
  type ImportCheckpoint,
} from "../domain/import-checkpoint.ts";
import { Cancelled, type Handler, type JobContext, type LeasedJob } from "../handler.ts";
import { type ItemOutcome, ItemOutcomes, noFailedItems } from "../item-outcomes.ts";
import { importBatches } from "./import-batches.ts";
import { type EmbeddedBatch, ImportEmbedder } from "./import-embedder.ts";
import { chunksOf, ImportWriter, type Written } from "./import-writer.ts";
import { oneAhead } from "./one-ahead.ts";
import { orSnooze } from "./rate-limited.ts";
import { StoredVectors } from "./stored-vectors.ts";

export interface BatchImportOptions {
  readonly index: IndexServiceClient;
  readonly objects: Pick<ObjectStore, "read">;
  /** Where the outcomes of documents are kept. */
  readonly nats: ItemsNats;
  readonly createProvider: CreateProvider;
  /** Chunks embedded and upserted at a time. */
  readonly batchChunks: number;
}

type ImportJob = LeasedJob<"batchImport">;

/** Bad documents that an attempt names in its log. */
const MAX_LOGGED = 100;

/**
 * Imports documents: reads the payload as a stream, cuts texts into chunks, embeds them, upserts them in batches under
 * the lease's fence, and checkpoints after every batch, so that a later attempt repeats at most one. While a batch is
 * written the next one is read and embedded. A bad document fails alone. What became of each is stored before the
 * checkpoint that counts it; a run of the failed items alone takes those that are marked so.
 */
export class BatchImport implements Handler<"batchImport"> {
  readonly type = "batch_import";
  readonly kind = "batchImport";
  readonly #options: BatchImportOptions;
  readonly #stored: StoredVectors;

  constructor(options: BatchImportOptions) {
    this.#options = options;
    this.#stored = new StoredVectors(options.index);
  }

  async run(job: ImportJob, context: JobContext): Promise<BatchImportResult> {
    const { library, payloadObject } = job;
    if (!library) throw new ArrwError("INVALID_ARGUMENT", "an import needs a library");
    if (payloadObject === "") throw new ArrwError("INVALID_ARGUMENT", "an import needs a payload");
    const { signal } = context;
    const embedder = new ImportEmbedder(this.#options.createProvider, this.#stored, library);
    const writer = new ImportWriter({
      index: this.#options.index,
      embedder,
      libraryId: library.library.libraryId,
      jobId: job.jobId,
      lease: job.lease,
      signal,
    });
    const items = new ItemOutcomes({ nats: this.#options.nats, jobId: job.jobId, lease: job.lease, signal });
    const counts = { ...(await startOf(job, items, context)) };
    logStart(counts, job, context);
    try {
      const batches = this.#embedded(job, { from: counts, embedder, items, signal });
      for await (const batch of oneAhead(batches, signal)) {
        const written = await writer.write(batch);
        logFailures(written, counts, context);
        add(counts, batch, written);
        // Failed before, each of them.
        if (job.failedItemsOnly) counts.failed -= written.imported.length + written.failed.length;
        await items.put(outcomesOf(written));
        logBatch(written, counts, context);
        context.progress(progressOf(counts, job));
        await context.checkpoint(encodeCheckpoint(counts));
      }
      logEnd(counts, context);
      return resultOf(counts);
    } catch (error) {
      throw signal.aborted && error === signal.reason
        ? new Cancelled(resultOf(counts))
        : orSnooze(error, context);
    } finally {
      writer.close();
    }
  }

  async *#embedded(job: ImportJob, source: Source): AsyncGenerator<EmbeddedBatch> {
    const { objects, batchChunks } = this.#options;
    const { from, embedder, items, signal } = source;
    const batches = importBatches({
      jobId: job.jobId,
      payload: objects.read(job.payloadObject, from.nextOffset),
      from: { ...from },
      chunking: chunkingOptions(job.spec),
      vectorBytes: embedder.dimensions * 4,
      maxChunks: batchChunks,
      isWanted: job.failedItemsOnly ? (ordinal) => items.hasFailed(ordinal) : undefined,
      signal,
    });
    for await (const batch of batches) yield await embedder.embed(batch, signal);
  }
}

interface Source {
  readonly from: ImportCheckpoint;
  readonly embedder: ImportEmbedder;
  readonly items: ItemOutcomes;
  readonly signal: AbortSignal;
}

type Counts = { -readonly [K in keyof ImportCheckpoint]: ImportCheckpoint[K] };

async function startOf(job: ImportJob, items: ItemOutcomes, context: JobContext): Promise<ImportCheckpoint> {
  const { checkpoint, failedItemsOnly, leasesBefore } = job;
  const decoded = checkpoint.length === 0 ? undefined : decodeCheckpoint(checkpoint);
  if (checkpoint.length > 0 && !decoded) {
    context.log.warn("the checkpoint can't be read: the import starts over");
  }
  if (failedItemsOnly) return startOfFailed(decoded, items, context);
  if (decoded) return decoded;
  // Nothing can be there before the first lease.
  if (leasesBefore > 0) await items.clear();
  return IMPORT_START;
}

/** Counted from the items themselves: what an attempt before had put right is no longer failed. */
async function startOfFailed(
  checkpoint: ImportCheckpoint | undefined,
  items: ItemOutcomes,
  context: JobContext,
): Promise<ImportCheckpoint> {
  const { ok: imported, failed, chunks: totalChunks } = await items.totals();
  if (!checkpoint && failed === 0) throw noFailedItems();
  const start = { ...(checkpoint ?? IMPORT_START), imported, failed, totalChunks };
  // So that a later attempt, which may find none failed any more, knows that there were some.
  if (!checkpoint) await context.checkpoint(encodeCheckpoint(start));
  return start;
}

function outcomesOf({ imported, failed }: Written): ItemOutcome[] {
  const written = imported.map((each): ItemOutcome => {
    const { documentId = "", title = "" } = each.upsert.document ?? {};
    const { ordinal } = each;
    return { ordinal, documentId, title, outcome: "ok", error: undefined, chunks: chunksOf(each) };
  });
  const refused = failed.map(({ ordinal, documentId, title, code, reason }): ItemOutcome => {
    const error = { code, message: reason, retryable: false };
    return { ordinal, documentId, title, outcome: "failed", error, chunks: 0 };
  });
  return written.concat(refused);
}

function add(counts: Counts, { source }: EmbeddedBatch, { imported, chunks, failed }: Written): void {
  counts.nextOffset = source.nextOffset;
  counts.ordinal = source.nextOrdinal;
  counts.imported += imported.length;
  counts.failed += failed.length;
  counts.totalChunks += chunks;
}

function logStart({ ordinal }: ImportCheckpoint, { itemCount }: ImportJob, { log }: JobContext): void {
  const start = `importing ${numberText(itemCount)} documents`;
  log.info(ordinal > 0 ? `${start}, from number ${numberText(ordinal)} on` : start);
}

function logBatch({ imported, chunks }: Written, { ordinal }: ImportCheckpoint, { log }: JobContext): void {
  log.debug({ documents: imported.length, chunks, next: ordinal }, "batch written");
}

function logEnd({ imported, failed, totalChunks }: ImportCheckpoint, { log }: JobContext): void {
  const bad = failed > 0 ? `; ${numberText(failed)} refused` : "";
  log.info(`imported ${numberText(imported)} documents, ${numberText(totalChunks)} chunks${bad}`);
}

function logFailures({ failed }: Written, counts: ImportCheckpoint, context: JobContext): void {
  const room = Math.max(0, MAX_LOGGED - counts.failed);
  for (const { ordinal, documentId, reason } of failed.slice(0, room)) {
    context.log.warn({ ordinal, document_id: documentId }, `document ${ordinal} is not imported: ${reason}`);
  }
}

function progressOf({ imported, failed, totalChunks }: ImportCheckpoint, { itemCount }: ImportJob) {
  const bad = failed > 0 ? `, ${numberText(failed)} failed` : "";
  return {
    current: imported + failed,
    total: itemCount,
    message: `${numberText(imported)} documents, ${numberText(totalChunks)} chunks${bad}`,
  };
}

const numberText = (value: number): string => value.toLocaleString("en-US");

function resultOf({ imported, failed, totalChunks }: ImportCheckpoint): BatchImportResult {
  return { imported: BigInt(imported), failed: BigInt(failed), totalChunks: BigInt(totalChunks) };
}
