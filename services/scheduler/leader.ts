import { hostname } from "node:os";
import { v7 as uuidv7 } from "uuid";
import type { Clock } from "../../platform/clock.ts";
import { type ArrwError, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Bucket } from "../../platform/nats/names.ts";
import type { Bus } from "./bus.ts";
import { Follower, type FollowerOptions } from "./follower.ts";
import { type Holder, LeaderKey } from "./leader-key.ts";
import type { SchedulerMetrics } from "./metrics.ts";
import type { Projection } from "./projection.ts";
import { JournalTooNew } from "./takeover.ts";
import { Term, type TermOptions } from "./term.ts";

export interface LeaderOptions extends Omit<TermOptions, "maySend" | "onLost"> {
  readonly metrics: TermOptions["metrics"] & Pick<SchedulerMetrics, "leading">;
  readonly replicas: number;
  readonly openStore: FollowerOptions["openStore"];
}

/** What reads are answered from. */
export interface View {
  readonly projection: Projection;
  /** undefined: nobody leads, this is a standby. */
  readonly term: Term | undefined;
  /** 0 = up to date; else the journal sequence up to which the standby has read. */
  readonly staleSequence: bigint;
}

const POLL_MS = 500;
/**
 * Decides when this process leads; until then it follows. The key in the bucket is only a hint that keeps replicas from
 * disturbing each other; what makes a leader is the EPOCH batch, and what unmakes one is an append that the journal
 * refuses.
 */
export class Leader implements Part {
  readonly name = "leader";
  readonly #options: LeaderOptions;
  readonly #log: Logger;
  readonly #nats: Bus;
  readonly #clock: Clock;
  readonly #self: Holder;
  readonly #stopping = new AbortController();
  #key: LeaderKey | undefined;
  #term: Term | undefined;
  #follower: Follower | undefined;
  #lost: ((error: Error) => void) | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: LeaderOptions) {
    this.#options = options;
    this.#log = options.log;
    this.#nats = options.nats;
    this.#clock = options.clock;
    this.#self = { instance: uuidv7(), host: hostname(), address: options.address };
  }

  /** The term of this process. @throws UNAVAILABLE with the leader's address while it does not lead */
  term(): Term {
    const term = this.#certain();
    if (!term) throw this.#notLeading();
    return term;
  }

  /**
   * What reads are answered from: the term or, while nobody leads, what this standby has read.
   * @throws UNAVAILABLE with the leader's address while another one leads
   */
  view(): View {
    const term = this.#certain();
    if (term) return { projection: term.projection, term, staleSequence: 0n };
    const follower = this.#follower;
    const sequence = follower?.projection.position.sequence ?? 0;
    // An empty journal has nothing to read, and 0 would say that it is up to date.
    if (!follower || sequence === 0 || this.#key?.othersLead) throw this.#notLeading();
    return { projection: follower.projection, term: undefined, staleSequence: BigInt(sequence) };
  }

  /** After a pause of this process another one may lead already, and have changed jobs. */
  #certain(): Term | undefined {
    return this.#key?.isValid ? this.#term : undefined;
  }

  #notLeading(): ArrwError {
    const address = this.#key?.leaderAddress;
    return unavailable("this scheduler does not lead", {
      reason: "NOT_LEADING",
      retryAfterMs: 200,
      ...(address === undefined ? {} : { metadata: { leader: address } }),
    });
  }

  current(): Term | undefined {
    return this.#term;
  }

  /** What was read of the journal, whoever leads; undefined while it is read for the first time. */
  get projection(): Projection | undefined {
    return (this.#term ?? this.#follower)?.projection;
  }

  /** Why it is of no use; undefined = it leads, or stands by while another one leads. */
  unready(): string | undefined {
    if (this.#term?.retention.full) return "the journal is near its bound: no jobs are accepted";
    if (this.#certain() || (this.#follower && this.#key?.othersLead)) return undefined;
    if (this.#term) return "its leadership can't be renewed";
    return this.#follower ? "no scheduler leads" : "the journal is not read to its end yet";
  }

  async start(): Promise<void> {
    const bucket = await this.#nats.ttlBucket(Bucket.leader, LeaderKey.ttlMs, this.#options.replicas);
    this.#key = new LeaderKey(bucket, this.#self, this.#clock, this.#log);
    this.#loop = this.#run(this.#key);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#lost?.(unavailable("the scheduler is stopping", { retryAfterMs: 500 }));
    await this.#loop;
  }

  async #run(key: LeaderKey): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await this.#followAndLead(key);
      } catch (error) {
        if (error instanceof JournalTooNew) this.#log.error({ err: error }, error.message);
        else this.#log.warn({ err: error }, "neither following nor leading; trying again");
      }
      await this.#pause();
    }
  }

  /** Follows until it leads, leads until the term ends; all that is in memory is thrown away then. */
  async #followAndLead(key: LeaderKey): Promise<void> {
    const { signal } = this.#stopping;
    let failure: Error | undefined;
    const follower = await Follower.start({
      ...this.#options,
      signal,
      onFailed: (error) => {
        failure = error;
      },
    });
    try {
      this.#follower = follower;
      while (!signal.aborted && !failure) {
        if (!this.#nats.unready() && (await key.acquire())) {
          this.#follower = undefined;
          await this.#lead(key, await follower.handOver());
          return;
        }
        await this.#pause();
      }
      if (failure) throw failure;
    } finally {
      this.#follower = undefined;
      await follower.stop();
    }
  }

  /** Until it is time to try again, or to stop. */
  #pause(): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const end = (): void => {
        cancel();
        signal.removeEventListener("abort", end);
        resolve();
      };
      const cancel = this.#clock.after(POLL_MS, end);
      signal.addEventListener("abort", end);
    });
  }

  async #lead(key: LeaderKey, projection: Projection): Promise<void> {
    let onLost: (error: Error) => void = () => undefined;
    const lost = new Promise<Error>((resolve) => {
      onLost = resolve;
    });
    this.#lost = onLost;
    const renewal = key.startRenewal(onLost);
    let term: Term | undefined;
    try {
      const options = {
        ...this.#options,
        maySend: () => key.isValid,
        onLost,
      };
      term = await Term.begin(options, projection);
      this.#term = term;
      this.#options.metrics.leading(true);
      const error = await lost;
      if (!this.#stopping.signal.aborted) this.#log.warn({ err: error }, "stopped leading");
    } finally {
      this.#term = undefined;
      this.#lost = undefined;
      renewal.stop();
      this.#options.metrics.leading(false);
      if (this.#stopping.signal.aborted) {
        await term?.drain();
        // Without a connection the key vanishes by itself. The store is written when the next one leads already.
        if (!this.#nats.unready()) {
          await renewal.settled();
          await key.release();
        }
        await term?.projection.flush().catch(() => undefined);
      }
      await term?.stop();
    }
  }
}
