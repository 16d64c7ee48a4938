import { type ServiceError, status } from "@grpc/grpc-js";
import {
  BadRequest,
  ErrorInfo,
  RetryInfo,
} from "nice-grpc-error-details/lib/proto/google/rpc/error_details.js";
import { Status } from "nice-grpc-error-details/lib/proto/google/rpc/status.js";

/** Names of the canonical gRPC codes: "NOT_FOUND", "UNAVAILABLE", ... */
export type ClientErrorCode = Exclude<keyof typeof status, "OK">;

/** One thing that is wrong with a request: the path of the field; the bound and the value. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

export interface ClientErrorOptions {
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** Every call of ArrwClient that fails throws this. */
export class ClientError extends Error {
  readonly code: ClientErrorCode;
  /** Stable, for programs: "LIBRARY_NOT_FOUND", "JOB_NOT_FOUND", ...; the code where there is none. */
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** All of an INVALID_ARGUMENT at once; otherwise empty. */
  readonly violations: readonly Violation[];
  /** When the server wants to be asked again; undefined = it didn't say. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ClientErrorCode, message: string, options: ClientErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ClientError";
    this.code = code;
    this.reason = options.reason ?? code;
    this.metadata = options.metadata ?? {};
    this.violations = options.violations ?? [];
    this.retryAfterMs = options.retryAfterMs;
  }
}

const DETAILS_KEY = "grpc-status-details-bin";

/** What grpc-js reports, with the details of the status trailer. */
export function fromServiceError(error: ServiceError): ClientError {
  const code = (status[error.code] ?? "UNKNOWN") as ClientErrorCode;
  const options: { -readonly [K in keyof ClientErrorOptions]: ClientErrorOptions[K] } = { cause: error };
  const trailer = error.metadata?.get(DETAILS_KEY)[0];
  for (const { typeUrl, value } of trailer instanceof Buffer ? Status.decode(trailer).details : []) {
    if (typeUrl.endsWith(ErrorInfo.$type)) {
      const { reason, metadata } = ErrorInfo.decode(value);
      Object.assign(options, { reason, metadata });
    } else if (typeUrl.endsWith(BadRequest.$type)) {
      const { fieldViolations } = BadRequest.decode(value);
      options.violations = fieldViolations.map(({ field, description }) => ({ field, description }));
    } else if (typeUrl.endsWith(RetryInfo.$type)) {
      const delay = RetryInfo.decode(value).retryDelay;
      if (delay) options.retryAfterMs = Number(delay.seconds) * 1_000 + delay.nanos / 1e6;
    }
  }
  return new ClientError(code, error.details || error.message, options);
}

/** Anything thrown by a call, as a ClientError. */
export function toClientError(thrown: unknown): ClientError {
  if (thrown instanceof ClientError) return thrown;
  if (thrown instanceof Error && "code" in thrown && "details" in thrown) {
    return fromServiceError(thrown as ServiceError);
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new ClientError("UNKNOWN", message, { cause: thrown });
}

/** The caller's signal ended the call. */
export function cancelled(signal: AbortSignal): ClientError {
  return new ClientError("CANCELLED", "the call was cancelled", { cause: signal.reason });
}
