/** Delays between attempts. */

export const BACKOFF_INITIAL_MS = 1_000;
export const BACKOFF_MAX_MS = 300_000;
/** A failure may ask for a longer delay, up to this. */
export const RETRY_AFTER_MAX_MS = 3_600_000;

/**
 * Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015):
 * evenly spread over [0, min(max, initial * 2^retries)).
 * @param retries retries so far; 0 = the first attempt has failed
 * @param jitter random number in [0, 1)
 */
export function backoffMs(retries: number, jitter: number): number {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_INITIAL_MS * 2 ** Math.min(retries, 30));
  return Math.floor(ceiling * jitter);
}

/** The delay before the next attempt: what the failure asks for, else the backoff. */
export function retryDelayMs(retries: number, jitter: number, retryAfterMs: number | undefined): number {
  if (retryAfterMs === undefined) return backoffMs(retries, jitter);
  return Math.min(RETRY_AFTER_MAX_MS, Math.max(0, retryAfterMs));
}
