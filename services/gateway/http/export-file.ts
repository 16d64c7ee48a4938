import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ArrwError } from "../../../platform/errors.ts";
import type { CallContext } from "../../../platform/grpc/server.ts";
import {
  type BatchExportResult,
  DownloadExportRequest,
  DownloadExportResponse,
  GetJobRequest,
  GetJobResponse,
  type Job,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { isKnown, rangeOf } from "./byte-range.ts";
import type { HttpDoor } from "./door.ts";

/**
 * GET and HEAD /v1/jobs/{job_id}/export: the file of a batch_export, with ranges, so that a download that broke off
 * goes on where it did. A file never ends early in silence: what can't be read breaks the connection.
 */

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  json: "application/json; charset=utf-8",
  ndjson: "application/x-ndjson; charset=utf-8",
  csv: "text/csv; charset=utf-8",
};

interface ExportFile {
  readonly job: Job;
  readonly size: number;
  readonly etag: string;
  readonly format: string;
  readonly gzip: boolean;
}

interface ExportRoute {
  readonly Params: { readonly job_id: string };
}

export function exportFileRoutes(app: FastifyInstance, door: HttpDoor): void {
  app.route<ExportRoute>({
    method: ["GET", "HEAD"],
    url: "/v1/jobs/:job_id/export",
    handler: (request, reply) => sendFile(door, request, reply),
  });
}

async function sendFile(
  door: HttpDoor,
  request: FastifyRequest<ExportRoute>,
  reply: FastifyReply,
): Promise<unknown> {
  const { job_id: jobId } = request.params;
  const context = door.contextOf(request, { unbounded: true });
  const { "if-none-match": known, range, "if-range": ifRange } = request.headers;
  const answer = await door.api.jobs.getJob(GetJobRequest.fromPartial({ jobId }), context);
  const file = exportOf(Buffer.isBuffer(answer) ? GetJobResponse.decode(answer).job : answer.job);
  if (!file) {
    // Says why there is none.
    for await (const _ of bytesOf(door, jobId, 0, context)) break;
    throw new ArrwError("FAILED_PRECONDITION", `job ${jobId} has no file`, { reason: "NO_EXPORT" });
  }
  const { etag, size } = file;
  reply.header("etag", etag).header("accept-ranges", "bytes").header("cache-control", "private, no-cache");
  const head = request.method === "HEAD";
  const wanted = head ? "all" : rangeOf(size, etag, { range, ifRange: headerText(ifRange) });
  const isUnchanged = isKnown(etag, known);
  const start = head || isUnchanged || wanted === "none" ? size : wanted === "all" ? 0 : wanted.start;
  // Read before the answer begins: whether the file is still kept.
  const bytes = bytesOf(door, jobId, start, context);
  const first = await bytes.next();
  if (isUnchanged) {
    await bytes.return(undefined);
    return reply.code(304).send();
  }
  if (wanted === "none") {
    await bytes.return(undefined);
    reply.header("content-range", `bytes */${size}`);
    throw rangeRefused(String(range), size);
  }
  describe(reply, file);
  if (wanted !== "all")
    reply.code(206).header("content-range", `bytes ${wanted.start}-${wanted.end}/${size}`);
  const length = wanted === "all" ? size : wanted.end - wanted.start + 1;
  reply.header("content-length", length);
  if (head) {
    await bytes.return(undefined);
    return reply.send();
  }
  const body = Readable.from(exactly(length, first, bytes), { objectMode: false });
  // Also when the client was gone before any of it was asked for.
  body.once("close", () => void bytes.return(undefined).catch(() => undefined));
  return reply.send(body);
}

function exportOf(job: Job | undefined): ExportFile | undefined {
  const result: BatchExportResult | undefined =
    job?.result?.result?.$case === "batchExport" ? job.result.result.value : undefined;
  if (!job || !result) return undefined;
  const { fileSizeBytes, sha256, format } = result;
  const spec = job.spec?.spec?.$case === "batchExport" ? job.spec.spec.value : undefined;
  return { job, size: Number(fileSizeBytes), etag: `"${sha256}"`, format, gzip: spec?.gzip ?? false };
}

function describe(reply: FastifyReply, { job, format, gzip }: ExportFile): void {
  const type = gzip ? "application/gzip" : (MEDIA_TYPES[format] ?? "application/octet-stream");
  reply.header("content-type", type);
  // A browser must not take what somebody imported for a page of this server.
  reply.header("x-content-type-options", "nosniff");
  reply.header("content-disposition", `attachment; filename="${fileName(job, format, gzip)}"`);
}

/** docs-2026-01-31-<start of the job's id>.ndjson.gz; ids of libraries have only characters that a name may have. */
function fileName({ libraryId, completedAt, jobId }: Job, format: string, gzip: boolean): string {
  const parts = [libraryId, completedAt?.toISOString().slice(0, 10) ?? "", jobId.slice(-12)];
  const name = parts.filter((part) => part !== "").join("-");
  return `${name.replace(/[^A-Za-z0-9_.-]/g, "_")}.${format}${gzip ? ".gz" : ""}`;
}

async function* bytesOf(
  { api }: HttpDoor,
  jobId: string,
  offset: number,
  context: CallContext,
): AsyncGenerator<Uint8Array, void, undefined> {
  const request = DownloadExportRequest.fromPartial({ jobId, offset: BigInt(offset) });
  for await (const part of api.jobs.downloadExport(request, context)) {
    yield Buffer.isBuffer(part) ? DownloadExportResponse.decode(part).data : part.data;
  }
}

/** So many bytes, neither more nor less. @throws ArrwError when the file ends before */
async function* exactly(
  length: number,
  first: IteratorResult<Uint8Array, void>,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array> {
  let left = length;
  for (let part = first; !part.done && left > 0; part = await rest.next()) {
    const bytes = part.value.subarray(0, left);
    left -= bytes.length;
    if (bytes.length > 0) yield bytes;
    if (left === 0) return;
  }
  if (left > 0) throw new ArrwError("DATA_LOSS", `the file ends ${left} bytes before its end`);
}

function rangeRefused(range: string, size: number): ArrwError {
  const shown = JSON.stringify(range.slice(0, 100));
  return new ArrwError("OUT_OF_RANGE", `the range ${shown} is not in the file, which has ${size} bytes`, {
    reason: "RANGE_NOT_SATISFIABLE",
    metadata: { size_bytes: String(size) },
  });
}

function headerText(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" ? value : value?.[0];
}
