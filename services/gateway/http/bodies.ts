import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { ArrwError } from "../../../platform/errors.ts";
import { MAX_BODY_BYTES, tooLarge } from "./errors.ts";
import { parseJsonObject } from "./json-text.ts";

/**
 * Bodies of requests: JSON alone, so that a form on another web page can't send one. They may be compressed by gzip;
 * the bound holds before and after.
 */

const BODY_TIMEOUT_MS = 60_000;
const DISCARD_MS = 2_000;
const unzip = promisify(gunzip);

/** For routes that take a stream: they read the body themselves, and bound its time. */
export const STREAMED_BODY = { streamedBody: true } as const;

export function readsBody({ routeOptions }: FastifyRequest): boolean {
  return (routeOptions.config as Partial<typeof STREAMED_BODY> | undefined)?.streamedBody === true;
}

export function acceptBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    "application/json",
    { parseAs: "buffer" },
    // Many clients name the type of a body that they don't send.
    async (request: FastifyRequest, body: Buffer) =>
      body.length === 0 ? {} : parseJsonObject(await plainBody(request, body)),
  );
  app.addHook("onRequest", async (request) => boundTime(request));
}

/**
 * Reads what is left of a body that nobody wants, for a moment: a client that sends on while its connection is being
 * closed would see that instead of the answer.
 */
export async function discardBody({ raw }: FastifyRequest): Promise<void> {
  if (raw.complete || raw.destroyed) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, DISCARD_MS);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    raw.once("end", done).once("close", done).once("error", done);
    raw.resume();
  });
}

async function plainBody(request: FastifyRequest, body: Buffer): Promise<Buffer> {
  const encoding = request.headers["content-encoding"]?.toLowerCase() ?? "identity";
  if (encoding === "identity") return body;
  if (encoding !== "gzip") {
    throw new ArrwError(
      "INVALID_ARGUMENT",
      `bodies may be compressed by gzip; got ${JSON.stringify(encoding.slice(0, 80))}`,
      { reason: "UNSUPPORTED_ENCODING" },
    );
  }
  try {
    return await unzip(body, { maxOutputLength: MAX_BODY_BYTES });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge();
    throw new ArrwError("INVALID_ARGUMENT", "the body is not what gzip wrote");
  }
}

/** Comes with a body that is read as a whole before its route's handler is called. */
export function bringsBody(request: FastifyRequest): boolean {
  const { "content-length": length, "transfer-encoding": encoding } = request.raw.headers;
  return !readsBody(request) && (length !== undefined || encoding !== undefined);
}

/** A body that trickles in costs its client the connection. */
function boundTime(request: FastifyRequest): void {
  const { raw } = request;
  if (!bringsBody(request)) return;
  const timer = setTimeout(() => raw.destroy(), BODY_TIMEOUT_MS);
  timer.unref();
  raw.once("end", () => clearTimeout(timer));
  raw.once("close", () => clearTimeout(timer));
}
