import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { ArrwError, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Bucket } from "../../platform/nats/names.ts";
import type { TtlBucket } from "../../platform/nats/ttl-bucket.ts";
import type { SchedulerMetrics } from "./metrics.ts";
import { JournalTooNew } from "./takeover.ts";
import { Term, type TermOptions } from "./term.ts";

export interface LeaderOptions extends Omit<TermOptions, "maySend" | "onLost"> {
  readonly metrics: SchedulerMetrics;
  readonly replicas: number;
}

const TTL_MS = 4_000;
const RENEW_MS = 1_000;
const POLL_MS = 500;
/** A leader stops sending this long before its key may vanish. */
const MARGIN_MS = 1_000;
const KEY = "leader";

interface Holder {
  readonly instance: string;
  readonly host: string;
  readonly address: string;
}

/**
 * Decides when this process leads. The key in the bucket is only a hint that keeps replicas from disturbing each
 * other; what makes a leader is the EPOCH batch, and what unmakes one is an append that the journal refuses.
 */
export class Leader implements Part {
  readonly name = "leader";
  readonly #options: LeaderOptions;
  readonly #log: Logger;
  readonly #nats: Nats;
  readonly #self: Holder;
  readonly #stopping = new AbortController();
  #bucket: TtlBucket | undefined;
  #revision = 0;
  #validUntilMs = 0;
  #renewing = false;
  #term: Term | undefined;
  #lost: ((error: Error) => void) | undefined;
  #holder: Holder | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#nats = options.nats;
    this.#self = { instance: uuidv7(), host: hostname(), address: options.address };
  }

  /** The term of this process. @throws UNAVAILABLE with the leader's address while it does not lead */
  term(): Term {
    // After a pause of this process another one may lead already, and have changed jobs.
    if (this.#term && performance.now() < this.#validUntilMs) return this.#term;
    const address = this.#holder?.address ?? "";
    throw unavailable("this scheduler does not lead", {
      reason: "NOT_LEADING",
      retryAfterMs: 200,
      ...(address === "" ? {} : { metadata: { leader: address } }),
    });
  }

  current(): Term | undefined {
    return this.#term;
  }

  /** Why it does not lead; undefined = it does. */
  unready(): string | undefined {
    return this.#term ? undefined : "not leading";
  }

  async start(): Promise<void> {
    this.#bucket = await this.#nats.ttlBucket(Bucket.leader, TTL_MS, this.#options.replicas);
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#lost?.(unavailable("the scheduler is stopping", { retryAfterMs: 500 }));
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        if (await this.#acquire()) await this.#lead();
      } catch (error) {
        if (error instanceof JournalTooNew) this.#log.error({ err: error }, error.message);
        else this.#log.warn({ err: error }, "did not come to lead; trying again");
      }
      await sleep(POLL_MS, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
  }

  /** True when the key is ours. */
  async #acquire(): Promise<boolean> {
    const bucket = this.#bucket;
    if (!bucket || this.#nats.unready()) return false;
    const value = JSON.stringify(this.#self);
    const askedAtMs = performance.now();
    try {
      const entry = await bucket.get(KEY);
      this.#holder = entry && (JSON.parse(entry.value) as Holder);
      if (!entry) this.#revision = await bucket.create(KEY, value);
      else if (this.#replaces(this.#holder)) this.#revision = await bucket.update(KEY, value, entry.revision);
      else return false;
    } catch (error) {
      if (error instanceof ArrwError && (error.code === "ALREADY_EXISTS" || error.code === "ABORTED"))
        return false;
      throw error;
    }
    this.#holder = this.#self;
    this.#validUntilMs = askedAtMs + TTL_MS - MARGIN_MS;
    return true;
  }

  /** Ours, or an earlier process's at the address that this one has bound: that process is gone. */
  #replaces(holder: Holder | undefined): boolean {
    const { instance, host, address } = this.#self;
    return holder?.instance === instance || (holder?.host === host && holder?.address === address);
  }

  async #lead(): Promise<void> {
    const lost = new Promise<Error>((resolve) => {
      this.#lost = resolve;
    });
    const renewal = setInterval(() => void this.#renew(), RENEW_MS);
    let term: Term | undefined;
    try {
      term = await Term.begin({
        ...this.#options,
        maySend: () => performance.now() < this.#validUntilMs,
        onLost: (error) => this.#lost?.(error),
      });
      this.#term = term;
      this.#options.metrics.leading(true);
      const error = await lost;
      if (!this.#stopping.signal.aborted) this.#log.warn({ err: error }, "stopped leading");
    } finally {
      this.#term = undefined;
      this.#lost = undefined;
      clearInterval(renewal);
      this.#options.metrics.leading(false);
      if (this.#stopping.signal.aborted) {
        await term?.drain();
        // Without a connection the key vanishes by itself.
        if (!this.#nats.unready()) await this.#bucket?.release(KEY, this.#revision).catch(() => undefined);
      } else {
        await term?.stop();
      }
    }
  }

  async #renew(): Promise<void> {
    // Two at once would expect the same revision: the second would be refused.
    if (this.#renewing) return;
    this.#renewing = true;
    const askedAtMs = performance.now();
    try {
      const value = JSON.stringify(this.#self);
      this.#revision = (await this.#bucket?.update(KEY, value, this.#revision)) ?? 0;
      this.#validUntilMs = askedAtMs + TTL_MS - MARGIN_MS;
    } catch (error) {
      const taken = error instanceof ArrwError && error.code === "ABORTED" && !(await this.#stillOurs());
      if (taken || performance.now() > this.#validUntilMs) {
        this.#lost?.(unavailable("the leader's key could not be renewed", { cause: error }));
      }
    } finally {
      this.#renewing = false;
    }
  }

  /** A renewal whose reply was lost leaves the key with a revision that we don't know. */
  async #stillOurs(): Promise<boolean> {
    const entry = await this.#bucket?.get(KEY).catch(() => undefined);
    if (!entry || (JSON.parse(entry.value) as Holder).instance !== this.#self.instance) return false;
    this.#revision = entry.revision;
    return true;
  }
}
