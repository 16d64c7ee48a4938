import type { Clock } from "../../platform/clock.ts";
import { ArrwError, unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { TtlBucket } from "../../platform/nats/ttl-bucket.ts";

const TTL_MS = 4_000;
const RENEW_MS = 1_000;
/** A leader stops sending this long before its key may vanish. */
const MARGIN_MS = 1_000;
const KEY = "leader";

/** Who leads, as the key says. */
export interface Holder {
  readonly instance: string;
  readonly host: string;
  readonly address: string;
}

/** A renewal under way. */
export interface Renewal {
  stop(): void;
  /** Resolves when none is on its way to the bucket. */
  settled(): Promise<void>;
}

/** The key in the bucket ARRW_LEADER: whoever holds it may try to lead. It vanishes 4 s after its last renewal. */
export class LeaderKey {
  static readonly ttlMs = TTL_MS;
  readonly #bucket: TtlBucket;
  readonly #self: Holder;
  readonly #clock: Clock;
  readonly #log: Logger;
  #revision = 0;
  #holder: Holder | undefined;
  #validUntilMs = 0;
  /** Monotonic time at which somebody else's key was there the last time. */
  #otherSeenAtMs = Number.NEGATIVE_INFINITY;

  constructor(bucket: TtlBucket, self: Holder, clock: Clock, log: Logger) {
    this.#bucket = bucket;
    this.#self = self;
    this.#clock = clock;
    this.#log = log;
  }

  /** The key is surely ours: counted from before its last renewal, with a margin. */
  get isValid(): boolean {
    return this.#clock.monotonic() < this.#validUntilMs;
  }

  /** A key that was seen is there until its time is up, also while the bucket can't be asked. */
  get othersLead(): boolean {
    return this.#clock.monotonic() - this.#otherSeenAtMs < TTL_MS + MARGIN_MS;
  }

  /** Address of another process that leads, as far as is known. */
  get leaderAddress(): string | undefined {
    return this.#holder?.instance === this.#self.instance ? undefined : this.#holder?.address;
  }

  /** True when the key is ours. */
  async acquire(): Promise<boolean> {
    const value = JSON.stringify(this.#self);
    const askedAtMs = this.#clock.monotonic();
    try {
      const entry = await this.#bucket.get(KEY);
      this.#holder = entry && (JSON.parse(entry.value) as Holder);
      if (!entry) this.#revision = await this.#bucket.create(KEY, value);
      else if (this.#replaces(this.#holder)) {
        this.#revision = await this.#bucket.update(KEY, value, entry.revision);
      } else {
        this.#otherSeenAtMs = this.#clock.monotonic();
        return false;
      }
    } catch (error) {
      // Somebody else was quicker; or the bucket can't be asked: a standby goes on following.
      const lostRace =
        error instanceof ArrwError && (error.code === "ALREADY_EXISTS" || error.code === "ABORTED");
      if (!lostRace) this.#log.warn({ err: error }, "the leader's key can't be read; trying again");
      return false;
    }
    this.#holder = this.#self;
    this.#validUntilMs = askedAtMs + TTL_MS - MARGIN_MS;
    return true;
  }

  /** Renews it each second. @param onLost it is another's, or no longer surely ours */
  startRenewal(onLost: (error: Error) => void): Renewal {
    let renewing: Promise<void> | undefined;
    const stop = this.#clock.every(RENEW_MS, () => {
      // Two at once would expect the same revision: the second would be refused.
      renewing ??= this.#renew(onLost).finally(() => {
        renewing = undefined;
      });
    });
    return { stop, settled: async () => renewing };
  }

  /** Gives it back, so that another one need not wait for its end. */
  async release(): Promise<void> {
    await this.#bucket.release(KEY, this.#revision).catch(() => undefined);
  }

  /** Ours, or an earlier process's at the address that this one has bound: that process is gone. */
  #replaces(holder: Holder | undefined): boolean {
    const { instance, host, address } = this.#self;
    return holder?.instance === instance || (holder?.host === host && holder?.address === address);
  }

  async #renew(onLost: (error: Error) => void): Promise<void> {
    const askedAtMs = this.#clock.monotonic();
    try {
      this.#revision = await this.#bucket.update(KEY, JSON.stringify(this.#self), this.#revision);
      this.#validUntilMs = askedAtMs + TTL_MS - MARGIN_MS;
    } catch (error) {
      const taken = error instanceof ArrwError && error.code === "ABORTED" && !(await this.#stillOurs());
      if (taken || !this.isValid) {
        onLost(unavailable("the leader's key could not be renewed", { cause: error }));
      }
    }
  }

  /** A renewal whose reply was lost leaves the key with a revision that we don't know. */
  async #stillOurs(): Promise<boolean> {
    try {
      const entry = await this.#bucket.get(KEY);
      if (!entry || (JSON.parse(entry.value) as Holder).instance !== this.#self.instance) return false;
      this.#revision = entry.revision;
      return true;
    } catch {
      return false;
    }
  }
}
