import { setTimeout as delay } from "node:timers/promises";
import { ArrwError } from "../../platform/errors.ts";

export interface RetryOptions {
  /** How long to go on, from the first try. */
  readonly forMs: number;
  readonly signal: AbortSignal;
}

const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 2_000;

/**
 * Repeats a call while its server is away (UNAVAILABLE, DEADLINE_EXCEEDED), with growing pauses: a service that was
 * killed is back within seconds, and losing the attempt would cost more.
 * @throws the last error, or the signal's reason
 */
export async function whileUnavailable<T>(run: () => Promise<T>, options: RetryOptions): Promise<T> {
  const { forMs, signal } = options;
  const endMs = performance.now() + forMs;
  for (let pauseMs = FIRST_DELAY_MS; ; pauseMs = Math.min(MAX_DELAY_MS, pauseMs * 2)) {
    try {
      return await run();
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (!isAway(error)) throw error;
      const waitMs = Math.max(error.retryAfterMs ?? 0, pauseMs);
      if (performance.now() + waitMs > endMs) throw error;
      // Rejects when the signal is aborted meanwhile; the reason is then more telling than the timer's own error.
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) throw signal.reason;
    }
  }
}

/** The server doesn't answer now. */
export function isAway(error: unknown): error is ArrwError {
  return error instanceof ArrwError && (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED");
}
