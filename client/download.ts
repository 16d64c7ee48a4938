import type { DeepPartial, JobServiceClient, SubmitJobRequest } from "../proto/gen/arrwdb/v1/jobs.ts";
import { ClientError } from "./error.ts";
import { jobRequest } from "./job-request.ts";
import type { ExportOptions } from "./options.ts";
import { type ResumeOptions, resumed } from "./resuming.ts";

export interface DownloadOptions extends ResumeOptions {
  /** First byte wanted; default 0. */
  readonly offset?: number;
}

/** A piece of the file; `offset` is the place of its first byte. Of an empty file, and at its end, one without bytes. */
export interface ExportPiece {
  readonly data: Uint8Array;
  readonly offset: number;
  readonly totalBytes: number;
}

/** See ArrwClient.downloadExport. */
export async function* downloadExport(
  stub: JobServiceClient,
  jobId: string,
  options: DownloadOptions,
): AsyncGenerator<ExportPiece> {
  let position = options.offset ?? 0;
  const open = stub.downloadExport.bind(stub);
  const pieces = resumed((...call) => open({ jobId, offset: BigInt(position) }, ...call), options);
  let isFirst = true;
  for await (const { data, offset, totalBytes } of pieces) {
    if (Number(offset) !== position) {
      throw new ClientError("DATA_LOSS", `byte ${position} of the export is missing: ${offset} came`);
    }
    position += data.length;
    // A stream that is resumed at the end of the file only says its size again.
    if (data.length > 0 || isFirst) yield { data, offset: Number(offset), totalBytes: Number(totalBytes) };
    isFirst = false;
  }
}

/** The request of a batch_export. */
export function exportRequest(libraryId: string, options: ExportOptions): DeepPartial<SubmitJobRequest> {
  const { format = "", includeEmbeddings = false, gzip = false, ...submit } = options;
  const value = { format, includeEmbeddings, gzip };
  return jobRequest(libraryId, submit, { $case: "batchExport", value });
}
