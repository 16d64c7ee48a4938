/**
 * A token bucket as one number (GCRA): the time at which the bucket is full again. Each request moves it on by the time
 * that a token takes to come; one that would find no token left waits.
 */

export interface Rate {
  /** Above 0. */
  readonly perSecond: number;
  /** Requests at once, by a client that was silent; at least 1. */
  readonly burst: number;
}

/** When the bucket is full again after one more request at `nowMs`. A new client's bucket is full since ever: 0. */
export function fullAgainMs(fullMs: number, nowMs: number, { perSecond }: Rate): number {
  return Math.max(fullMs, nowMs) + 1_000 / perSecond;
}

/** How long a request has to wait for its token; 0 = it is there. */
export function waitMs(fullMs: number, nowMs: number, rate: Rate): number {
  const emptyAt = fullAgainMs(fullMs, nowMs, rate) - (rate.burst * 1_000) / rate.perSecond;
  return Math.max(0, emptyAt - nowMs);
}
