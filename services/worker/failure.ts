import { ArrwError, type ErrorCode, toArrwError } from "../../platform/errors.ts";
import type { FailedOutcome } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";

/** Codes after which the same attempt would fail the same way. */
const PERMANENT: ReadonlySet<ErrorCode> = new Set([
  "INVALID_ARGUMENT",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "FAILED_PRECONDITION",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "DATA_LOSS",
  "UNAUTHENTICATED",
]);

const MAX_MESSAGE_LENGTH = 2_000;

/** What a handler threw, as the outcome of its attempt. */
export function toFailure(thrown: unknown): FailedOutcome {
  const error = toArrwError(thrown);
  const { retryAfterMs } = error;
  return {
    error: {
      code: error.reason,
      message: error.message.slice(0, MAX_MESSAGE_LENGTH),
      retryable: !PERMANENT.has(error.code),
    },
    retryAfter: retryAfterMs === undefined ? undefined : toDuration(retryAfterMs),
    timedOut: false,
  };
}

export function toDuration(ms: number): Duration {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: Math.floor((ms % 1000) * 1e6) };
}

export function timedOut(message: string): FailedOutcome {
  return {
    error: { code: "DEADLINE_EXCEEDED", message, retryable: true },
    retryAfter: undefined,
    timedOut: true,
  };
}

/** Another attempt of the job has begun, or the scheduler has closed this one: nothing is to be said any more. */
export function isFenced(thrown: unknown): boolean {
  return thrown instanceof ArrwError && thrown.reason === "LEASE_FENCED";
}
