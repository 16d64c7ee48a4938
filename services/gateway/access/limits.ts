import { LRUCache } from "lru-cache";
import { ArrwError } from "../../../platform/errors.ts";
import { fullAgainMs, type Rate, waitMs } from "../domain/rate-limit.ts";

/** Clients remembered; of more those that were heard longest ago begin anew. */
const MAX_CLIENTS = 10_000;
const REQUESTS_RETRY_MS = 100;
const STREAMS_RETRY_MS = 5_000;
/** Wrong credentials from one address. */
const FAILURES: Rate = { perSecond: 5, burst: 20 };

export interface ClientLimits {
  /** 0 = no limit. */
  readonly requestsPerSecond: number;
  readonly maxRequests: number;
  readonly maxStreams: number;
}

/** What one client has under way. */
export interface ClientUse {
  fullMs: number;
  requests: number;
  streams: number;
}

/** How much each client may ask for. A batch counts as the one request that it is: see docs/operations.md. */
export class ClientUses {
  readonly #limits: ClientLimits;
  readonly #rate: Rate;
  readonly #now: () => number;
  readonly #uses = new LRUCache<string, ClientUse>({ max: MAX_CLIENTS });

  /** @param now monotonic, in ms */
  constructor(limits: ClientLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#rate = { perSecond: limits.requestsPerSecond, burst: 2 * limits.requestsPerSecond };
    this.#now = now;
  }

  /** Takes a token for a request. @throws ArrwError RESOURCE_EXHAUSTED, RATE_LIMITED */
  count(client: string): ClientUse {
    let use = this.#uses.get(client);
    if (use === undefined) {
      use = { fullMs: 0, requests: 0, streams: 0 };
      this.#uses.set(client, use);
    }
    if (this.#limits.requestsPerSecond === 0) return use;
    const now = this.#now();
    const wait = waitMs(use.fullMs, now, this.#rate);
    if (wait > 0) throw rateLimited(`more than ${this.#limits.requestsPerSecond} requests a second`, wait);
    use.fullMs = fullAgainMs(use.fullMs, now, this.#rate);
    return use;
  }

  /** The request begins. @throws ArrwError RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS or TOO_MANY_STREAMS */
  begin(use: ClientUse, streams: boolean): void {
    const { maxRequests, maxStreams } = this.#limits;
    if (streams) {
      if (use.streams >= maxStreams) throw tooMany("STREAMS", maxStreams, STREAMS_RETRY_MS);
      use.streams += 1;
    } else {
      if (use.requests >= maxRequests) throw tooMany("REQUESTS", maxRequests, REQUESTS_RETRY_MS);
      use.requests += 1;
    }
  }

  end(use: ClientUse, streams: boolean): void {
    if (streams) use.streams -= 1;
    else use.requests -= 1;
  }
}

/** Wrong credentials by network: who tries many is answered without looking at them. */
export class Failures {
  readonly #now: () => number;
  readonly #fullMs = new LRUCache<string, number>({ max: MAX_CLIENTS });

  /** @param now monotonic, in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** @throws ArrwError RESOURCE_EXHAUSTED, RATE_LIMITED when the network has failed too often */
  check(network: string): void {
    const wait = waitMs(this.#fullMs.get(network) ?? 0, this.#now(), FAILURES);
    if (wait > 0) throw rateLimited("too many calls with wrong credentials from this address", wait);
  }

  add(network: string): void {
    this.#fullMs.set(network, fullAgainMs(this.#fullMs.get(network) ?? 0, this.#now(), FAILURES));
  }
}

export function rateLimited(message: string, wait: number): ArrwError {
  return new ArrwError("RESOURCE_EXHAUSTED", message, {
    reason: "RATE_LIMITED",
    retryAfterMs: Math.ceil(wait),
  });
}

function tooMany(what: "REQUESTS" | "STREAMS", most: number, retryAfterMs: number): ArrwError {
  return new ArrwError(
    "RESOURCE_EXHAUSTED",
    `the client has ${most} ${what.toLowerCase()} under way already`,
    { reason: `TOO_MANY_${what}`, metadata: { limit: String(most) }, retryAfterMs },
  );
}
