import type { RetryPolicy } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Duration } from "../../../proto/gen/google/protobuf/duration.ts";

/** Delays between attempts. */

export const BACKOFF_INITIAL_MS = 1_000;
export const BACKOFF_MAX_MS = 300_000;
export const BACKOFF_MULTIPLIER = 2;
/** Share of a delay that is random: 1 = "full jitter". */
export const JITTER = 1;
/** A failure may ask for a longer delay, up to this. */
export const RETRY_AFTER_MAX_MS = 3_600_000;

/**
 * Exponential backoff with jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015): with the
 * default jitter of 1 evenly spread over [0, min(max, initial * multiplier^retries)), with 0 always the whole of it.
 * @param policy fields that are unset or 0 take their defaults
 * @param retries retries so far; 0 = the first attempt has failed
 * @param random random number in [0, 1)
 */
export function backoffMs(policy: RetryPolicy | undefined, retries: number, random: number): number {
  const initialMs = toMs(policy?.backoffInitial) ?? BACKOFF_INITIAL_MS;
  const maxMs = toMs(policy?.backoffMax) ?? Math.max(BACKOFF_MAX_MS, initialMs);
  const multiplier = policy?.backoffMultiplier || BACKOFF_MULTIPLIER;
  // Infinity is bounded by the maximum, too.
  const ceilingMs = Math.min(maxMs, initialMs * multiplier ** retries);
  return Math.floor(ceilingMs * (1 - (policy?.jitter ?? JITTER) * (1 - random)));
}

/** The delay before the next attempt: what the failure asks for, else the backoff. */
export function retryDelayMs(
  policy: RetryPolicy | undefined,
  retries: number,
  random: number,
  retryAfterMs: number | undefined,
): number {
  if (retryAfterMs === undefined) return backoffMs(policy, retries, random);
  return Math.min(RETRY_AFTER_MAX_MS, Math.max(0, retryAfterMs));
}

/** undefined stays undefined. */
export function toMs(duration: Duration | undefined): number | undefined {
  return duration && Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
