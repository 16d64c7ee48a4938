import { ArrwError, invalidArgument, notFound } from "../../platform/errors.ts";
import { ObjectId } from "../../platform/nats/names.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";
import {
  type BatchExportResult,
  type DownloadExportRequest,
  DownloadExportResponse,
  GetJobResponse,
  type Job,
  JobStatus,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { isJobId } from "./domain/validation/ids.ts";
import type { GatewayContext } from "./guard.ts";
import { readJob } from "./job-reader.ts";
import type { SchedulerClient } from "./scheduler-client.ts";

const TYPE = "batch_export";
const PIECE_BYTES = 256 * 1024;
const MAX_OFFSET = BigInt(Number.MAX_SAFE_INTEGER);

export interface DownloadsOptions {
  readonly scheduler: Pick<SchedulerClient, "call">;
  readonly objects: Pick<ObjectStore, "manifest" | "read">;
  /** Unix ms. */
  readonly now?: () => number;
}

/** DownloadExport: a few parts of the file are held, however slow the client is. */
export class Downloads {
  readonly #options: DownloadsOptions;

  constructor(options: DownloadsOptions) {
    this.#options = options;
  }

  /** @throws ArrwError */
  async *read(
    { jobId, offset }: DownloadExportRequest,
    context: GatewayContext,
  ): AsyncGenerator<DownloadExportResponse> {
    if (offset < 0n) throw invalidArgument([{ field: "offset", description: `at least 0; got ${offset}` }]);
    if (!isJobId(jobId)) throw notFound("job", jobId);
    const { file, writer } = await this.#file(jobId, context);
    const totalBytes = file.fileSizeBytes;
    if (offset > totalBytes || offset > MAX_OFFSET) {
      throw new ArrwError(
        "OUT_OF_RANGE",
        `the offset ${offset} is behind the end of the file at ${totalBytes}`,
      );
    }
    // Also an empty file, and the end of one, has an answer: its size.
    if (offset === totalBytes) yield DownloadExportResponse.fromPartial({ offset, totalBytes });
    let position = offset;
    for await (const part of this.#parts(jobId, Number(offset), writer)) {
      for (let start = 0; start < part.length; start += PIECE_BYTES) {
        const data = Buffer.from(part.subarray(start, start + PIECE_BYTES));
        yield { data, offset: position, totalBytes };
        position += BigInt(data.length);
      }
    }
  }

  async #file(
    jobId: string,
    context: GatewayContext,
  ): Promise<{ readonly file: BatchExportResult; readonly writer: string }> {
    const reply = await readJob(this.#options.scheduler, jobId, context);
    const { job } = GetJobResponse.decode(reply);
    if (!job) throw notFound("job", jobId);
    const file = resultOf(job);
    const { now = Date.now } = this.#options;
    if (file.expiresAt && file.expiresAt.getTime() <= now()) throw expired(jobId);
    const writer = String(job.attempts.findLast(({ outcome }) => outcome === "completed")?.lease ?? 0n);
    const manifest = await this.#options.objects.manifest(ObjectId.export(jobId), writer);
    if (!manifest) throw expired(jobId);
    return { file, writer };
  }

  /** What is removed while it is read has expired. */
  async *#parts(jobId: string, offset: number, writer: string): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#options.objects.read(ObjectId.export(jobId), offset, writer);
    } catch (error) {
      const isGone = error instanceof ArrwError && (error.code === "DATA_LOSS" || error.code === "NOT_FOUND");
      if (!isGone || (await this.#options.objects.manifest(ObjectId.export(jobId), writer))) throw error;
      throw expired(jobId);
    }
  }
}

function resultOf({ jobId, type, status, result }: Job): BatchExportResult {
  if (type !== TYPE) {
    throw new ArrwError("FAILED_PRECONDITION", `job ${jobId} is a ${type}: it has no export`, {
      reason: "NO_EXPORT",
    });
  }
  if (status === JobStatus.JOB_STATUS_COMPLETED && result?.result?.$case === "batchExport") {
    return result.result.value;
  }
  throw new ArrwError("FAILED_PRECONDITION", `job ${jobId} has not completed: there is no file of it`, {
    reason: "EXPORT_NOT_COMPLETED",
  });
}

function expired(jobId: string): ArrwError {
  return new ArrwError("FAILED_PRECONDITION", `the file of export ${jobId} is no longer kept`, {
    reason: "EXPORT_EXPIRED",
  });
}
