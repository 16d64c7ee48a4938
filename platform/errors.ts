/** The one error class of the project; `unknown` is converted once, at the edge, by `toArrwError`. */

/** Canonical gRPC codes by name; the numbers are those of google.rpc.Code. */
export const ErrorCode = {
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type ErrorCode = keyof typeof ErrorCode;

/** `field` is a path in the request ("requests[3].spec"), `description` names the bound and the value. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

export interface ErrorOptions {
  /** Stable, for programs: "LIBRARY_NOT_FOUND", ... Becomes google.rpc.ErrorInfo.reason. */
  readonly reason?: string;
  /** Becomes google.rpc.ErrorInfo.metadata. */
  readonly metadata?: Record<string, string>;
  /** Becomes google.rpc.BadRequest. */
  readonly violations?: readonly Violation[];
  /** Becomes google.rpc.ResourceInfo. */
  readonly resource?: { readonly type: string; readonly name: string };
  /** Becomes google.rpc.RetryInfo. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class ArrwError extends Error {
  readonly code: ErrorCode;
  readonly reason: string;
  readonly metadata: Record<string, string>;
  readonly violations: readonly Violation[];
  readonly resource: { readonly type: string; readonly name: string } | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "ArrwError";
    this.code = code;
    this.reason = options.reason ?? code;
    this.metadata = options.metadata ?? {};
    this.violations = options.violations ?? [];
    this.resource = options.resource;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** INVALID_ARGUMENT with every violation at once. */
export function invalidArgument(violations: readonly Violation[]): ArrwError {
  const text = violations.map((v) => `${v.field}: ${v.description}`).join("; ");
  return new ArrwError("INVALID_ARGUMENT", text, { violations });
}

/** NOT_FOUND with ErrorInfo reason `<TYPE>_NOT_FOUND`. */
export function notFound(
  type: "job" | "library" | "document" | "object" | "worker",
  name: string,
): ArrwError {
  return new ArrwError("NOT_FOUND", `${type} ${JSON.stringify(name.slice(0, 200))} does not exist`, {
    reason: `${type.toUpperCase()}_NOT_FOUND`,
    resource: { type, name },
  });
}

export function unavailable(message: string, options: ErrorOptions = {}): ArrwError {
  return new ArrwError("UNAVAILABLE", message, options);
}

/** Anything thrown, as an ArrwError; what is not one already is a bug of ours: INTERNAL. */
export function toArrwError(error: unknown): ArrwError {
  if (error instanceof ArrwError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ArrwError("INTERNAL", message, { cause: error });
}
