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
const unzip = promisify(gunzip);

/** For routes that take a stream: they read the body themselves, and bound its time. */
export const STREAMED_BODY = { streamedBody: true } as const;

export function acceptBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    "application/json",
    { parseAs: "buffer" },
    async (request: FastifyRequest, body: Buffer) => parseJsonObject(await plainBody(request, body)),
  );
  app.addHook("onRequest", async (request) => boundTime(request));
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

/** A body that trickles in costs its client the connection. */
function boundTime(request: FastifyRequest): void {
  const { raw, routeOptions } = request;
  if ((routeOptions.config as Partial<typeof STREAMED_BODY>).streamedBody) return;
  if (raw.headers["content-length"] === undefined && raw.headers["transfer-encoding"] === undefined) return;
  const timer = setTimeout(() => raw.destroy(), BODY_TIMEOUT_MS);
  timer.unref();
  raw.once("end", () => clearTimeout(timer));
  raw.once("close", () => clearTimeout(timer));
}
