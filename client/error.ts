import { type ServiceError, status } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../proto/gen/google/rpc/error_details.ts";
import { Status } from "../proto/gen/google/rpc/status.ts";

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
  const details = knownDetails(error.metadata?.get(DETAILS_KEY)[0]);
  return new ClientError(code, error.details || error.message, { ...details, cause: error });
}

type KnownDetails = { -readonly [K in keyof ClientErrorOptions]: ClientErrorOptions[K] };

function knownDetails(trailer: unknown): KnownDetails {
  const known: KnownDetails = {};
  if (!(trailer instanceof Buffer)) return known;
  try {
    for (const { typeUrl, value } of Status.decode(trailer).details) {
      if (typeUrl.endsWith("/google.rpc.ErrorInfo")) {
        const { reason, metadata } = ErrorInfo.decode(value);
        Object.assign(known, { reason, metadata });
      } else if (typeUrl.endsWith("/google.rpc.BadRequest")) {
        const { fieldViolations } = BadRequest.decode(value);
        known.violations = fieldViolations.map(({ field, description }) => ({ field, description }));
      } else if (typeUrl.endsWith("/google.rpc.RetryInfo")) {
        const { retryDelay } = RetryInfo.decode(value);
        if (retryDelay) known.retryAfterMs = Number(retryDelay.seconds) * 1_000 + retryDelay.nanos / 1e6;
      }
    }
  } catch {
    // Details that can't be read say nothing: the code does.
  }
  return known;
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
