import type { FastifyError, FastifyReply } from "fastify";
import { ArrwError, type ErrorCode, toArrwError, type Violation } from "../../../platform/errors.ts";
import { publicError } from "../public-error.ts";

/** Errors of both doors are the same; here they get a status and a JSON shape. */

export interface ErrorBody {
  readonly error: {
    /** Of google.rpc.Code, by name. */
    readonly code: ErrorCode;
    /** For people. */
    readonly message: string;
    /** All that is wrong with the request, by the path as the client wrote it. */
    readonly fields: readonly Violation[];
    /** Stable, for programs: "LIBRARY_NOT_FOUND", ... */
    readonly reason: string;
    readonly metadata?: Readonly<Record<string, string>>;
    readonly retry_after_ms?: number;
  };
}

/** As google.rpc.Code says, but for FAILED_PRECONDITION and OUT_OF_RANGE, which say more as what they are here. */
export const STATUS: Readonly<Record<ErrorCode, number>> = {
  CANCELLED: 499,
  UNKNOWN: 500,
  INVALID_ARGUMENT: 400,
  DEADLINE_EXCEEDED: 504,
  NOT_FOUND: 404,
  ALREADY_EXISTS: 409,
  PERMISSION_DENIED: 403,
  RESOURCE_EXHAUSTED: 429,
  FAILED_PRECONDITION: 409,
  ABORTED: 409,
  OUT_OF_RANGE: 416,
  UNIMPLEMENTED: 501,
  INTERNAL: 500,
  UNAVAILABLE: 503,
  DATA_LOSS: 500,
  UNAUTHENTICATED: 401,
};

/** Reasons with a status of their own. */
const STATUS_OF_REASON: Readonly<Record<string, number>> = {
  MESSAGE_TOO_LARGE: 413,
  DOCUMENT_TOO_LARGE: 413,
  HEADERS_TOO_LARGE: 431,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNSUPPORTED_ENCODING: 415,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_TIMEOUT: 408,
  EXPORT_EXPIRED: 410,
  CURSOR_EXPIRED: 410,
};

const MAX_FIELDS = 100;

export function statusOf({ code, reason }: ArrwError): number {
  return STATUS_OF_REASON[reason] ?? STATUS[code];
}

export function errorBody(error: ArrwError): ErrorBody {
  const { code, message, violations, reason, metadata, retryAfterMs } = error;
  return {
    error: {
      code,
      message,
      fields: violations.slice(0, MAX_FIELDS).map(({ field, description }) => ({ field, description })),
      reason,
      ...(Object.keys(metadata).length > 0 ? { metadata } : {}),
      ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
    },
  };
}

export function errorHeaders(error: ArrwError): Record<string, string> {
  const headers: Record<string, string> = { "cache-control": "no-store" };
  if (error.retryAfterMs !== undefined) headers["retry-after"] = String(Math.ceil(error.retryAfterMs / 1000));
  if (error.code === "UNAUTHENTICATED") headers["www-authenticate"] = 'Bearer realm="arrwdb"';
  return headers;
}

/** Answers with whatever was thrown. */
export function sendError(reply: FastifyReply, thrown: unknown): FastifyReply {
  const error = fromThrown(thrown);
  return reply.code(statusOf(error)).headers(errorHeaders(error)).send(errorBody(error));
}

/** The error with its fields' paths as the client wrote them. */
export function withPaths(error: ArrwError, shown: (path: string) => string): ArrwError {
  if (error.violations.length === 0) return error;
  const violations = error.violations.map(({ field, description }) => ({ field: shown(field), description }));
  const { reason, metadata, resource, retryAfterMs, cause } = error;
  return new ArrwError(
    error.code,
    violations.map(({ field, description }) => `${field}: ${description}`).join("; "),
    {
      reason,
      metadata,
      violations,
      cause,
      ...(resource ? { resource } : {}),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    },
  );
}

/** Mistakes that Fastify finds, and its own; anything else as everywhere. */
export function fromThrown(thrown: unknown): ArrwError {
  return publicError(known(thrown));
}

function known(thrown: unknown): ArrwError {
  if (thrown instanceof ArrwError || !(thrown instanceof Error)) return toArrwError(thrown);
  const { code, statusCode = 500, message } = thrown as FastifyError;
  switch (code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return tooLarge();
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new ArrwError(
        "INVALID_ARGUMENT",
        "bodies are JSON: send the header content-type: application/json",
        { reason: "UNSUPPORTED_MEDIA_TYPE" },
      );
    default:
      if (statusCode >= 400 && statusCode < 500) return new ArrwError("INVALID_ARGUMENT", message);
      return toArrwError(thrown);
  }
}

/** Largest body, as the largest message over gRPC. */
export const MAX_BODY_BYTES = 8 * 1024 * 1024;

export function tooLarge(): ArrwError {
  return new ArrwError(
    "RESOURCE_EXHAUSTED",
    `the body is larger than ${MAX_BODY_BYTES} bytes: stream documents to POST /v1/libraries/{library_id}/documents/stream, or split the request`,
    { reason: "MESSAGE_TOO_LARGE", metadata: { max_bytes: String(MAX_BODY_BYTES) } },
  );
}
