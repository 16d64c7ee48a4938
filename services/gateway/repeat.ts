import { setTimeout as delay } from "node:timers/promises";
import { ArrwError } from "../../platform/errors.ts";

/** A call to another service, made again while that service is away. */

const FIRST_BACKOFF_MS = 25;
const MAX_BACKOFF_MS = 1_000;

/** Repeats on UNAVAILABLE with jittered backoff until the deadline (Unix ms); only for calls that may be repeated. */
export async function repeatWhileUnavailable<T>(
  run: () => Promise<T>,
  bounds: { readonly deadlineMs: number; readonly signal: AbortSignal },
): Promise<T> {
  const { deadlineMs, signal } = bounds;
  for (let backoffMs = FIRST_BACKOFF_MS; ; backoffMs = Math.min(2 * backoffMs, MAX_BACKOFF_MS)) {
    try {
      return await run();
    } catch (error) {
      const waitMs = backoffMs * (0.5 + Math.random());
      if (signal.aborted || !isAway(error) || Date.now() + waitMs >= deadlineMs) throw error;
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw error;
    }
  }
}

/** A service that dies or is forced to stop in the midst of a call can also show as a stream that was reset. */
export function isAway(error: unknown): boolean {
  if (!(error instanceof ArrwError)) return false;
  if (error.code === "UNAVAILABLE" || error.code === "CANCELLED") return true;
  return error.code === "INTERNAL" && /RST_STREAM/.test(error.message);
}
