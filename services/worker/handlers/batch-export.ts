import { ArrwError } from "../../../platform/errors.ts";
import { ObjectId } from "../../../platform/nats/names.ts";
import type { ObjectStore } from "../../../platform/nats/objects.ts";
import type { ExportServiceClient, OpenExportResponse } from "../../../proto/gen/arrwdb/index/v1/exports.ts";
import type { BatchExportResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { decodeExportCheckpoint, type ExportCheckpoint } from "../domain/export-checkpoint.ts";
import { Cancelled, type Handler, type JobContext, type LeasedJob } from "../handler.ts";
import { whileUnavailable } from "../retry.ts";
import { Stopped } from "../stopped.ts";
import { unlessAborted } from "../unless-aborted.ts";
import { ExportFile } from "./export-file.ts";
import { EXPORT_FORMATS, type ExportFormatName } from "./export-formats.ts";
import { ExportRun } from "./export-run.ts";
import { ExportSource, exportGone } from "./export-source.ts";

export interface BatchExportOptions {
  readonly exports: ExportServiceClient;
  readonly objects: Pick<ObjectStore, "writer" | "removeWritten">;
  /** How long the file is kept. */
  readonly retentionMs: number;
}

type ExportJob = LeasedJob<"batchExport">;

/** The object storage may be restarting. */
const STORE_FOR_MS = 60_000;
/** An index that loses its pin again and again is a matter for the job's retries. */
const MAX_RESTARTS = 5;
const CLEAN_UP_MS = 2_000;

/**
 * Writes a library as it was at one moment to a file in the object store, with bounded memory, while it changes. A later
 * attempt goes on behind the last checkpoint, as long as the index has kept the library as it was; else it starts over.
 */
export class BatchExport implements Handler<"batchExport"> {
  readonly type = "batch_export";
  readonly kind = "batchExport";
  readonly #options: BatchExportOptions;

  constructor(options: BatchExportOptions) {
    this.#options = options;
  }

  async run(job: ExportJob, context: JobContext): Promise<BatchExportResult> {
    const { library, spec, jobId, run } = job;
    if (!library) throw new ArrwError("INVALID_ARGUMENT", "an export needs a library");
    const source = new ExportSource({
      exports: this.#options.exports,
      libraryId: library.library.libraryId,
      // A run begins with the library as it is then, its attempts go on with that.
      exportId: `${jobId}/${run}`,
      includeVectors: spec.includeEmbeddings,
      signal: context.signal,
    });
    try {
      return await this.#untilDone(job, context, source);
    } catch (error) {
      if (!isCancel(context.signal)) throw error;
      // What is written goes with the job's end: another attempt may have completed it meanwhile.
      await unlessAborted(source.close(), AbortSignal.timeout(CLEAN_UP_MS)).catch(() => undefined);
      throw new Cancelled();
    }
  }

  /** Starts over when the pin was lost. */
  async #untilDone(job: ExportJob, context: JobContext, source: ExportSource): Promise<BatchExportResult> {
    let from = checkpointOf(job, context);
    for (let restarts = 0; ; restarts++) {
      try {
        return await this.#once(job, context, source, from, restarts);
      } catch (error) {
        if (context.signal.aborted || !isLost(error)) throw error;
        if (restarts === MAX_RESTARTS) throw new ArrwError("ABORTED", error.message, { cause: error });
        context.log.warn(`the export starts over: ${error.message}`);
        from = undefined;
      }
    }
  }

  async #once(
    job: ExportJob,
    context: JobContext,
    source: ExportSource,
    from: ExportCheckpoint | undefined,
    restarts: number,
  ): Promise<BatchExportResult> {
    const { spec } = job;
    // The pin has been lost: what is left of it doesn't count.
    if (restarts > 0) await source.close();
    else if (!from) await this.#removeEarlier(job, context.signal);
    const pinned = await source.open();
    if (from && BigInt(from.pin) !== pinned.pin) throw exportGone("the library was pinned anew meanwhile");
    const file = await source.keptAlive(this.#file(job, context.signal, from, restarts));
    const format = formatOf(spec.format);
    const run = new ExportRun({ source, file, format, withVectors: spec.includeEmbeddings, pinned, context });
    logStart(pinned, from, format, context);
    const manifest = await run.toTheEnd(from).catch(async (error: unknown) => {
      // Else they would go on beside those of the start after this one.
      if (!context.signal.aborted) await file.settled();
      throw error;
    });
    await source.close();
    context.log.info(`exported ${run.text}; sha256 ${manifest.sha256}`);
    return {
      documentsExported: BigInt(run.documents),
      chunksExported: BigInt(run.chunks),
      format,
      fileSizeBytes: BigInt(manifest.sizeBytes),
      sha256: manifest.sha256,
      expiresAt: new Date(Date.now() + this.#options.retentionMs),
    };
  }

  async #file(
    { jobId, lease, spec }: ExportJob,
    signal: AbortSignal,
    from: ExportCheckpoint | undefined,
    restarts: number,
  ): Promise<ExportFile> {
    const writer = await this.#options.objects.writer({
      objectId: ObjectId.export(jobId),
      // A later attempt may have gone on with the parts of before a restart: they are left as they are.
      writer: restarts === 0 ? String(lease) : `${lease}-${restarts}`,
      // Gateways read what the lease that completed the job has finished.
      finisher: String(lease),
      from,
      persist: (append) => this.#stored(append, signal),
      signal,
    });
    return new ExportFile(writer, spec.gzip);
  }

  #stored(run: () => Promise<void>, signal: AbortSignal): Promise<void> {
    return unlessAborted(whileUnavailable(run, { forMs: STORE_FOR_MS, signal }), signal);
  }

  /**
   * What attempts and runs before this one wrote: none of them has a checkpoint that an attempt can go on with. Never what
   * a newer one wrote, of which this one doesn't know when it is given up and still alive.
   */
  async #removeEarlier({ jobId, lease, leasesBefore }: ExportJob, signal: AbortSignal): Promise<void> {
    if (leasesBefore === 0) return;
    const isEarlier = (writer: string): boolean => BigInt(writer.split("-")[0] ?? 0) < lease;
    const { objects } = this.#options;
    await this.#stored(() => objects.removeWritten(ObjectId.export(jobId), isEarlier), signal);
  }
}

function checkpointOf({ checkpoint }: ExportJob, context: JobContext): ExportCheckpoint | undefined {
  if (checkpoint.length === 0) return undefined;
  const decoded = decodeExportCheckpoint(checkpoint);
  if (!decoded) context.log.warn("the checkpoint can't be used: the export starts over");
  return decoded;
}

/** @throws ArrwError INVALID_ARGUMENT */
function formatOf(format: string): ExportFormatName {
  const wanted = format === "" ? "json" : format;
  const known = EXPORT_FORMATS.find((each) => each === wanted);
  if (!known) throw new ArrwError("INVALID_ARGUMENT", `format: json, ndjson or csv; got ${format}`);
  return known;
}

/** The library as it was pinned, or what was written of it, is gone. */
function isLost(error: unknown): error is ArrwError {
  return error instanceof ArrwError && (error.reason === "EXPORT_NOT_FOUND" || error.code === "DATA_LOSS");
}

function isCancel({ reason }: AbortSignal): boolean {
  return reason instanceof Stopped && reason.why === "cancel";
}

function logStart(
  { documents, chunks, at }: OpenExportResponse,
  from: ExportCheckpoint | undefined,
  format: string,
  { log }: JobContext,
): void {
  const what = `exporting ${count(documents)} documents, ${count(chunks)} chunks as ${format}`;
  const when = at ? ` as of ${at.toISOString()}` : "";
  log.info(from ? `${what}${when}, behind the first ${count(from.documents)}` : `${what}${when}`);
}

const count = (value: number | bigint): string => value.toLocaleString("en-US");
