import type { CreateProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
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
import { importBatches } from "./import-batches.ts";
import { type EmbeddedBatch, ImportEmbedder } from "./import-embedder.ts";
import { ImportWriter, type Written } from "./import-writer.ts";
import { oneAhead } from "./one-ahead.ts";

export interface BatchImportOptions {
  readonly index: IndexServiceClient;
  readonly objects: Pick<ObjectStore, "read">;
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
 * written the next one is read and embedded. A bad document fails alone.
 */
export class BatchImport implements Handler<"batchImport"> {
  readonly type = "batch_import";
  readonly kind = "batchImport";
  readonly #options: BatchImportOptions;

  constructor(options: BatchImportOptions) {
    this.#options = options;
  }

  async run(job: ImportJob, context: JobContext): Promise<BatchImportResult> {
    const { library, payloadObject } = job;
    if (!library) throw new ArrwError("INVALID_ARGUMENT", "an import needs a library");
    if (payloadObject === "") throw new ArrwError("INVALID_ARGUMENT", "an import needs a payload");
    const { signal } = context;
    const embedder = new ImportEmbedder(this.#options.createProvider, library);
    const writer = new ImportWriter({
      index: this.#options.index,
      embedder,
      libraryId: library.library.libraryId,
      jobId: job.jobId,
      lease: job.lease,
      signal,
    });
    const counts = { ...startOf(job, context) };
    logStart(counts, job, context);
    try {
      for await (const batch of oneAhead(this.#embedded(job, counts, embedder, signal), signal)) {
        const written = await writer.write(batch);
        logFailures(written, counts, context);
        add(counts, batch, written);
        logBatch(written, counts, context);
        context.progress(progressOf(counts, job));
        await context.checkpoint(encodeCheckpoint(counts));
      }
      logEnd(counts, context);
      return resultOf(counts);
    } catch (error) {
      throw signal.aborted && error === signal.reason ? new Cancelled(resultOf(counts)) : error;
    } finally {
      writer.close();
    }
  }

  async *#embedded(
    job: ImportJob,
    from: ImportCheckpoint,
    embedder: ImportEmbedder,
    signal: AbortSignal,
  ): AsyncGenerator<EmbeddedBatch> {
    const { objects, batchChunks } = this.#options;
    const batches = importBatches({
      jobId: job.jobId,
      payload: objects.read(job.payloadObject, from.nextOffset),
      from: { ...from },
      chunking: chunkingOptions(job.spec),
      vectorBytes: embedder.dimensions * 4,
      maxChunks: batchChunks,
      signal,
    });
    for await (const batch of batches) yield await embedder.embed(batch, signal);
  }
}

type Counts = { -readonly [K in keyof ImportCheckpoint]: ImportCheckpoint[K] };

function startOf({ checkpoint }: ImportJob, context: JobContext): ImportCheckpoint {
  if (checkpoint.length === 0) return IMPORT_START;
  const decoded = decodeCheckpoint(checkpoint);
  if (!decoded) context.log.warn("the checkpoint can't be read: the import starts over");
  return decoded ?? IMPORT_START;
}

function add(counts: Counts, { source }: EmbeddedBatch, { imported, chunks, failed }: Written): void {
  counts.nextOffset = source.nextOffset;
  counts.ordinal = source.nextOrdinal;
  counts.imported += imported;
  counts.failed += failed.length;
  counts.totalChunks += chunks;
}

function logStart({ ordinal }: ImportCheckpoint, { itemCount }: ImportJob, { log }: JobContext): void {
  const start = `importing ${numberText(itemCount)} documents`;
  log.info(ordinal > 0 ? `${start}, from number ${numberText(ordinal)} on` : start);
}

function logBatch({ imported, chunks }: Written, { ordinal }: ImportCheckpoint, { log }: JobContext): void {
  log.debug({ documents: imported, chunks, next: ordinal }, "batch written");
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
