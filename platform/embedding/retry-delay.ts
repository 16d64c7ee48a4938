/** When to call a provider again. */

const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * The wait that a Retry-After header asks for: seconds or an HTTP date. At most an hour; a date that has passed is 0.
 * @returns undefined for no header and for one that is neither
 */
export function retryAfterMs(header: string | undefined, nowMs: number): number | undefined {
  const value = header?.trim();
  if (!value) return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return Math.min(MAX_RETRY_AFTER_MS, Number(value) * 1_000);
  // Date.parse takes much that is no HTTP date: "-5" is the year 2001.
  if (!/^[A-Za-z]{3,9},? /.test(value)) return undefined;
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? undefined : Math.min(MAX_RETRY_AFTER_MS, Math.max(0, atMs - nowMs));
}

export interface Backoff {
  readonly firstMs: number;
  readonly maxMs: number;
}

/**
 * Full jitter: anything between nothing and first * 2^tries, at most max.
 * @param tries failures before this one, from 0
 * @param random 0..1
 */
export function backoffMs(tries: number, { firstMs, maxMs }: Backoff, random: number): number {
  return random * Math.min(maxMs, firstMs * 2 ** Math.min(tries, 30));
}
