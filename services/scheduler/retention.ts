import type { Cancel, Clock } from "../../platform/clock.ts";
import { unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import { JournalBatch } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { isTerminal } from "./domain/state.ts";
import type { JobTable } from "./jobs.ts";
import { jobIdOf } from "./journal.ts";

export interface RetentionLimits {
  /** Age since its end at which a job is deleted. */
  readonly maxAgeMs: number;
  /** Ended jobs kept at most. */
  readonly maxJobs: number;
  /** Bound of the journal. */
  readonly journalMaxBytes: number;
}

export interface RetentionOptions {
  readonly nats: Pick<Nats, "getMessage" | "purge" | "setMaxBytes" | "streamInfo">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly table: JobTable;
  readonly limits: RetentionLimits;
  /** Resolves when all that was appended so far is durable. */
  readonly settled: () => Promise<void>;
  /** Flushes the store; resolves with the sequence that it goes through. */
  readonly flush: () => Promise<number>;
  /** Sequence of OUTCOMES that is taken up durably. */
  readonly outcomesThrough: () => number;
}

const INTERVAL_MS = 1_000;
/** Jobs deleted in one go, between two flushes; of evictions at least LEAST_SLICE, for a flush has its price. */
const SLICE = 1_000;
const LEAST_SLICE = 16;
/** Above this share of its bound the journal evicts ended jobs, then refuses submits. */
const HIGH_WATER = 0.8;
/** A journal smaller than this is not worth compacting. */
const COMPACT_FROM_BYTES = 256 * 1024 * 1024;
/** A short job leaves three records, of which the last is wanted: that much is normal. */
const COMPACT_RATIO = 4;
const COMPACT_MESSAGES = 256;
/** What is still wanted of a part is there twice until the part is purged: parts are small. */
const COMPACT_BYTES = 16 * 1024 * 1024;
/** A journal that holds hardly more than what is wanted is not gone through: there is nothing to gain. */
const MIN_GAIN = 1.25;
/** From this share of the hard limit on, a takeover makes room before it does anything else. */
const NEARLY = 0.9;
/** Share of the high-water mark that evictions go down to, so that they don't come one by one. */
const EVICT_TO = 0.75;
/** The stream's own limit, in bounds: ours is met first. */
const HARD_LIMIT = 2;
/** As a time: all ended jobs. */
const ALL = Number.MAX_SAFE_INTEGER;

/**
 * Keeps the journal bounded. Jobs leave through tombstones; what the stream holds below the oldest record still
 * wanted is purged, after the few old ones still wanted were appended again: a copying collector over a log.
 */
export class Retention {
  readonly #options: RetentionOptions;
  #cancel: Cancel | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #full = false;
  /** Bytes of the journal, as of the last look and what was appended since. */
  #bytes = 0;
  #outcomesPurged = 0;
  /** The stream may have another limit than its own: a takeover raises it when the stream is full. */
  #perhapsEnlarged = false;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** No new jobs: the journal is near its bound and nothing is left to evict, or it grows faster than it is compacted. */
  get full(): boolean {
    return this.#full || this.#bytes > this.#options.limits.journalMaxBytes;
  }

  start(): void {
    this.#cancel = this.#options.clock.every(INTERVAL_MS, () => this.#runNow());
  }

  /** For a takeover of a journal that may take nothing more: a round before anything else is appended. */
  async makeRoom(): Promise<void> {
    const { nats, limits, log } = this.#options;
    this.#bytes = (await nats.streamInfo(Stream.journal)).bytes;
    // Until the first round has looked: what has ended may leave.
    this.#full = this.#bytes > limits.journalMaxBytes * HIGH_WATER && this.#ended === 0;
    if (this.#bytes <= limits.journalMaxBytes * HARD_LIMIT * NEARLY) return;
    this.#perhapsEnlarged = true;
    await this.run().catch((error: unknown) => log.warn({ err: error }, "making room in the journal failed"));
  }

  /** A batch was appended; near the bound the next round does not wait for its time. */
  appended(bytes: number): void {
    const { limits } = this.#options;
    const high = limits.journalMaxBytes * HIGH_WATER;
    const crossed = this.#bytes <= high && this.#bytes + bytes > high;
    this.#bytes += bytes;
    if (crossed && this.#cancel) this.#runNow();
  }

  #runNow(): void {
    if (this.#stopped) return;
    this.#running ??= this.run()
      .catch((error: unknown) => this.#options.log.warn({ err: error }, "retention failed; trying again"))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel?.();
    await this.#running;
  }

  /** One round: purge what workers reported and is taken up, delete what is too old or too much, keep the bound. */
  async run(): Promise<void> {
    await this.#purgeOutcomes();
    await this.#deleteOld();
    await this.#keepBound();
  }

  /** Jobs that have ended. */
  get #ended(): number {
    const groups = this.#options.table.store.counts.matching(undefined);
    return groups.reduce((sum, { status, count }) => sum + (isTerminal(status) ? count : 0), 0);
  }

  async #purgeOutcomes(): Promise<void> {
    const { nats, outcomesThrough } = this.#options;
    const through = outcomesThrough();
    if (through <= this.#outcomesPurged) return;
    await nats.purge(Stream.outcomes, { below: through + 1 });
    this.#outcomesPurged = through;
  }

  /** Slice by slice until nothing is left to delete: more jobs may end in a second than one slice holds. */
  async #deleteOld(): Promise<void> {
    const { table, limits } = this.#options;
    const { store } = table;
    while (!this.#stopped) {
      let deleted = this.#delete(store.oldestEnded(SLICE, table.now().getTime() - limits.maxAgeMs));
      const excess = this.#ended - limits.maxJobs;
      if (excess > 0) deleted += this.#delete(store.oldestEnded(Math.min(excess, SLICE), ALL));
      if (deleted === 0) return;
      await this.#stored();
    }
  }

  /** Compacts where that frees enough; above the high-water mark ended jobs leave too, the longest ended first. */
  async #keepBound(): Promise<void> {
    const { nats, table, limits } = this.#options;
    const high = limits.journalMaxBytes * HIGH_WATER;
    let bytes = await this.#compactIfWorthIt(high);
    while (bytes > high && !this.#stopped) {
      if (this.#delete(table.store.oldestEnded(this.#evictions(high), ALL)) === 0) break;
      await this.#stored();
      // One pass over the journal for many deletions.
      if (table.store.liveBytes > high * EVICT_TO && table.store.oldestEnded(1, ALL).length > 0) continue;
      bytes = await this.#compactIfWorthIt(high);
    }
    this.#full = bytes > high;
    const hardLimit = HARD_LIMIT * limits.journalMaxBytes;
    if (!this.#perhapsEnlarged || bytes >= hardLimit) return;
    await nats.setMaxBytes(Stream.journal, hardLimit);
    this.#perhapsEnlarged = false;
  }

  /** As many jobs as hold what is to leave, on average: of large jobs a whole slice may be all there are. */
  #evictions(high: number): number {
    const { liveBytes, counts } = this.#options.table.store;
    const jobs = counts.matching(undefined).reduce((sum, { count }) => sum + count, 0);
    const wanted = Math.ceil((liveBytes - high * EVICT_TO) / (liveBytes / Math.max(1, jobs)));
    return Math.min(SLICE, Math.max(LEAST_SLICE, wanted || 0));
  }

  /** What was decided is durable, and the store has it. */
  async #stored(): Promise<void> {
    await this.#options.settled();
    await this.#options.flush();
  }

  #delete(jobIds: readonly string[]): number {
    let deleted = 0;
    for (const jobId of jobIds) {
      // The store doesn't know yet how it stands: it may have been retried, and ended again just now.
      if (this.#options.table.isInMemory(jobId)) continue;
      if (this.#options.table.transition(jobId, { kind: "delete" }).accepted) deleted += 1;
    }
    return deleted;
  }

  /** Goes once through the journal as it is now, but stops when little is left to gain. @returns its bytes then */
  async #compactIfWorthIt(high: number): Promise<number> {
    const { nats, table, limits, flush } = this.#options;
    const info = await nats.streamInfo(Stream.journal);
    let last = info.lastSequence;
    let { firstSequence, bytes } = info;
    this.#bytes = bytes;
    const worthIt = (): boolean => {
      const { liveBytes } = table.store;
      const from = Math.max(
        Math.min(COMPACT_FROM_BYTES, limits.journalMaxBytes / 4),
        COMPACT_RATIO * liveBytes,
      );
      return bytes > Math.min(high, from) && bytes > MIN_GAIN * liveBytes;
    };
    if (!worthIt()) return bytes;
    // What is wanted is known exactly only when the store has all of it; and of what the stream holds beyond, not at all: a
    // batch whose acknowledgement is on its way looks as if nobody wanted it.
    last = Math.min(last, await flush());
    while (worthIt() && firstSequence < last && !this.#stopped) {
      if (!(await this.#compact(firstSequence, last))) break;
      ({ firstSequence, bytes } = await nats.streamInfo(Stream.journal));
      this.#bytes = bytes;
    }
    return bytes;
  }

  /** Goes through the oldest part, appends again what is still wanted, purges the part. @returns false when it can't */
  async #compact(first: number, last: number): Promise<boolean> {
    const { nats, table, settled, flush, log } = this.#options;
    // The newest batch always stays: it carries the lease number, and how far OUTCOMES is taken up.
    let end = Math.min(first + COMPACT_MESSAGES, last);
    let kept = 0;
    let bytes = 0;
    for (let sequence = first; sequence < end && !this.#stopped; sequence++) {
      const message = await nats.getMessage(Stream.journal, { sequence });
      // The journal has no holes: a replica answers that has not got it yet.
      if (!message) throw unavailable(`batch ${sequence} of the journal can't be read yet`);
      bytes += message.data.length;
      if (bytes >= COMPACT_BYTES) end = sequence + 1;
      const jobIds = new Set(JournalBatch.decode(message.data).records.map(jobIdOf));
      for (const jobId of jobIds) {
        if (table.sequenceOf(jobId) !== sequence) continue;
        table.reappend(jobId);
        kept += 1;
      }
    }
    if (this.#stopped) return false;
    await settled();
    const through = await flush();
    if (this.#stopped || through < end) return false;
    await nats.purge(Stream.journal, { below: end });
    log.debug({ first, end, kept }, "journal compacted");
    return true;
  }
}
