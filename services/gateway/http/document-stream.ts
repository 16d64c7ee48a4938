import type { IncomingMessage } from "node:http";
import type { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ArrwError, toArrwError } from "../../../platform/errors.ts";
import { ImportDocumentsResponse } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { viewOfSubmitted } from "../domain/job-view.ts";
import { documentTooLarge, MAX_DOCUMENT_BYTES, type ReceivedImport } from "../received.ts";
import { STREAMED_BODY } from "./bodies.ts";
import type { JsonCodec } from "./codec.ts";
import type { HttpDoor } from "./door.ts";
import { withPaths } from "./errors.ts";
import type { JsonObject } from "./json-shape.ts";
import { parseJsonObject } from "./json-text.ts";
import { type Line, LineMemory, lineRefused, readLines } from "./lines.ts";
import type { StreamOptions } from "./send-timeout.ts";
import { encodedBy } from "./stream-query.ts";
import { UploadHeader } from "./upload-header.ts";

/**
 * POST /v1/libraries/{library_id}/documents/stream: NDJSON, a document a line, of any length, to ImportDocuments. A
 * document is stored before the next is read, so a quick client waits for the store, and one line is all that is held.
 * A line that is no document refuses the whole, by its number, and an upload that breaks off submits nothing.
 */

const MEDIA_TYPES = new Set([
  "application/x-ndjson",
  "application/ndjson",
  "application/jsonl",
  "application/x-jsonlines",
  "application/jsonlines",
]);
/** Lines that have begun, of all uploads together. */
const MAX_BEGUN_BYTES = 256 * 1024 * 1024;
/** Time that the client of a refused upload has to read why, while what it still sends is thrown away. */
const REFUSED_MS = 2_000;

interface UploadRoute {
  readonly Params: { readonly library_id: string };
  readonly Querystring: Readonly<Record<string, unknown>>;
}

interface Upload {
  readonly door: HttpDoor;
  readonly header: UploadHeader;
  readonly memory: LineMemory;
  readonly options: StreamOptions;
}

export async function documentStreamRoutes(
  app: FastifyInstance,
  door: HttpDoor,
  options: StreamOptions,
): Promise<void> {
  const upload: Upload = {
    door,
    header: new UploadHeader(door.codec),
    memory: new LineMemory(MAX_BEGUN_BYTES),
    options,
  };
  // Parsers are of a scope of routes: here the body stays a stream.
  await app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser("*", async () => undefined);
    scope.setErrorHandler((error, request) => {
      endRefused(request.raw);
      throw error;
    });
    scope.post<UploadRoute>(
      "/v1/libraries/:library_id/documents/stream",
      { config: STREAMED_BODY },
      (request, reply) => importLines(upload, request, reply),
    );
  });
}

async function importLines(
  { door, header, memory, options }: Upload,
  request: FastifyRequest<UploadRoute>,
  reply: FastifyReply,
): Promise<FastifyReply> {
  requireNdjson(request);
  const context = door.contextOf(request, { unbounded: true });
  const body = plainBody(request);
  async function* messages(): AsyncGenerator<ReceivedImport> {
    yield { header: header.read(request.params.library_id, request.query) };
    const chunks = unlessIdle(body, options.idleTimeoutMs, context.signal);
    for await (const line of readLines(chunks, memory)) yield { document: documentOf(door.codec, line) };
  }
  try {
    const answer = await door.api.jobs.importDocuments(messages(), context);
    const { job } = door.codec.decode(
      "arrwdb.v1.ImportDocumentsResponse",
      encodedBy(ImportDocumentsResponse, answer),
    );
    const shown = viewOfSubmitted(job as JsonObject);
    return reply.code(202).header("location", `/v1/jobs/${shown.job_id}`).send(shown);
  } catch (error) {
    throw header.named(context.signal.aborted ? context.signal.reason : error);
  } finally {
    if (body !== request.raw) body.destroy();
  }
}

function requireNdjson({ headers }: FastifyRequest): void {
  const type = headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type === undefined || MEDIA_TYPES.has(type)) return;
  throw new ArrwError(
    "INVALID_ARGUMENT",
    `documents are NDJSON: send the header content-type: application/x-ndjson; got ${JSON.stringify(type.slice(0, 100))}`,
    { reason: "UNSUPPORTED_MEDIA_TYPE" },
  );
}

/** The body, unpacked as it comes. A destroyed body would take the connection with it, and the answer. */
function plainBody({ raw }: FastifyRequest): Readable {
  const encoding = raw.headers["content-encoding"]?.toLowerCase() ?? "identity";
  if (encoding === "identity") return raw;
  if (encoding !== "gzip") {
    throw new ArrwError(
      "INVALID_ARGUMENT",
      `documents may be compressed by gzip; got ${JSON.stringify(encoding.slice(0, 80))}`,
      { reason: "UNSUPPORTED_ENCODING" },
    );
  }
  const gunzip = createGunzip();
  raw.once("error", (error) => gunzip.destroy(error));
  raw.once("aborted", () => gunzip.destroy(new Error("the client closed the connection")));
  return raw.pipe(gunzip);
}

/** @throws ArrwError INVALID_ARGUMENT, RESOURCE_EXHAUSTED by the line's number */
function documentOf(codec: JsonCodec, { number, bytes }: Line): Buffer {
  try {
    const document = codec.encode("arrwdb.v1.Document", parseJsonObject(bytes, "the document"));
    if (document.length <= MAX_DOCUMENT_BYTES) return document;
    throw documentTooLarge(`line ${number}: the document`, document.length);
  } catch (thrown) {
    const error = toArrwError(thrown);
    if (error.code !== "INVALID_ARGUMENT") throw error;
    if (error.violations.length === 0) throw lineRefused(number, error.message);
    throw withPaths(error, (path) => `line ${number}: ${path}`);
  }
}

/** @throws ArrwError when nothing comes for so long, the gzip is broken, or the client is gone */
async function* unlessIdle(body: Readable, idleMs: number, signal: AbortSignal): AsyncGenerator<Buffer> {
  const iterator: AsyncIterator<Buffer> = body.iterator({ destroyOnReturn: false });
  let fail: (error: ArrwError) => void = () => undefined;
  const timer = setTimeout(() => fail(idle(idleMs)), idleMs);
  const onAbort = (): void => fail(toArrwError(signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    for (;;) {
      // Only waiting counts, not the time that the store takes.
      timer.refresh();
      const failed = new Promise<never>((_, reject) => {
        fail = reject;
      });
      if (signal.aborted) onAbort();
      const next = await Promise.race([iterator.next(), failed]).catch(unreadable);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    // Not waited for: it comes after the chunk that nobody waits for any more.
    iterator.return?.().catch(() => undefined);
  }
}

function idle(idleMs: number): ArrwError {
  return new ArrwError("DEADLINE_EXCEEDED", `nothing came for ${idleMs} ms`, { reason: "REQUEST_TIMEOUT" });
}

function unreadable(thrown: unknown): never {
  if (thrown instanceof ArrwError) throw thrown;
  const { code = "", message } = thrown as NodeJS.ErrnoException;
  if (code.startsWith("Z_"))
    throw new ArrwError("INVALID_ARGUMENT", `the body is not what gzip wrote: ${message}`);
  throw new ArrwError("CANCELLED", "the upload broke off", { cause: thrown });
}

/**
 * The rest of the body is of no use. It is thrown away while the client reads the answer: on a connection that is closed
 * at once, what still comes makes the client's system drop the answer unread.
 */
function endRefused(body: IncomingMessage): void {
  if (body.complete || body.destroyed) return;
  body.unpipe();
  // A listener, as who still waits for a chunk would keep the body from flowing.
  body.on("data", () => undefined);
  body.resume();
  const timer = setTimeout(() => body.destroy(), REFUSED_MS);
  const over = (): void => clearTimeout(timer);
  body.once("end", over).once("close", over);
}
