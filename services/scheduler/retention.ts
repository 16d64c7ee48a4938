import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import { JournalBatch } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { isTerminal } from "./domain/state.ts";
import type { JobTable } from "./jobs.ts";
import { jobIdOf } from "./record.ts";

export interface RetentionLimits {
  /** Age since its end at which a job is deleted. */
  readonly maxAgeMs: number;
  /** Ended jobs kept at most. */
  readonly maxJobs: number;
  /** Bound of the journal. */
  readonly journalMaxBytes: number;
}

export interface RetentionOptions {
  readonly nats: Nats;
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

const INTERVAL_MS = 5_000;
/** Jobs deleted in one go. */
const SLICE = 1_000;
/** Above this share of its bound the journal evicts ended jobs, then refuses submits. */
const HIGH_WATER = 0.8;
/** A journal smaller than this is not worth compacting. */
const COMPACT_FROM_BYTES = 256 * 1024 * 1024;
/** A short job leaves three records, of which the last is wanted: that much is normal. */
const COMPACT_RATIO = 4;
const COMPACT_MESSAGES = 256;

/**
 * Keeps the journal bounded. Jobs leave through tombstones; what the stream holds below the oldest record still
 * wanted is purged, after the few old ones still wanted were appended again: a copying collector over a log.
 */
export class Retention {
  readonly #options: RetentionOptions;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;
  #full = false;
  #outcomesPurged = 0;

  constructor(options: RetentionOptions) {
    this.#options = options;
  }

  /** The journal is near its bound and nothing is left to evict: no new jobs. */
  get full(): boolean {
    return this.#full;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#running ??= this.run()
        .catch((error: unknown) => this.#options.log.warn({ err: error }, "retention failed; trying again"))
        .finally(() => {
          this.#running = undefined;
        });
    }, INTERVAL_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  /** One round: delete what is too old or too much, compact, purge what workers reported and is taken up. */
  async run(): Promise<void> {
    const { nats, flush, limits, outcomesThrough } = this.#options;
    await flush();
    this.#deleteOld();
    const info = await nats.streamInfo(Stream.journal);
    const over = info.bytes > limits.journalMaxBytes * HIGH_WATER;
    const evicted = over
      ? this.#delete(this.#options.table.store.oldestEnded(SLICE, Number.MAX_SAFE_INTEGER))
      : 0;
    const worthIt =
      info.bytes >
      Math.max(
        Math.min(COMPACT_FROM_BYTES, limits.journalMaxBytes / 4),
        COMPACT_RATIO * this.#options.table.store.liveBytes,
      );
    if (!this.#stopped && (over || worthIt)) await this.#compact(info.firstSequence, info.lastSequence);
    this.#full =
      over &&
      evicted === 0 &&
      (await nats.streamInfo(Stream.journal)).bytes > limits.journalMaxBytes * HIGH_WATER;
    const through = outcomesThrough();
    if (through > this.#outcomesPurged) {
      await nats.purge(Stream.outcomes, { below: through + 1 });
      this.#outcomesPurged = through;
    }
  }

  #deleteOld(): void {
    const { table, limits } = this.#options;
    const { store } = table;
    this.#delete(store.oldestEnded(SLICE, table.now().getTime() - limits.maxAgeMs));
    const ended = store.counts.matching(undefined).filter((group) => isTerminal(group.status));
    const excess = ended.reduce((sum, group) => sum + group.count, 0) - limits.maxJobs;
    if (excess > 0) this.#delete(store.oldestEnded(Math.min(excess, SLICE), Number.MAX_SAFE_INTEGER));
  }

  #delete(jobIds: readonly string[]): number {
    let deleted = 0;
    for (const jobId of jobIds) {
      if (this.#options.table.transition(jobId, { kind: "delete" }).accepted) deleted += 1;
    }
    return deleted;
  }

  /** Goes through the oldest part of the journal, appends again what is still wanted, and purges the part. */
  async #compact(first: number, last: number): Promise<void> {
    const { nats, table, settled, flush, log } = this.#options;
    // The newest batch always stays: it carries the lease number, and how far OUTCOMES is taken up.
    const end = Math.min(first + COMPACT_MESSAGES, last);
    let kept = 0;
    for (let sequence = first; sequence < end && !this.#stopped; sequence++) {
      const message = await nats.getMessage(Stream.journal, { sequence });
      if (!message) continue;
      const jobIds = new Set(JournalBatch.decode(message.data).records.map(jobIdOf));
      for (const jobId of jobIds) {
        if (table.sequenceOf(jobId) !== sequence) continue;
        table.reappend(jobId);
        kept += 1;
      }
    }
    if (this.#stopped) return;
    await settled();
    const through = await flush();
    if (this.#stopped || through < end) return;
    await nats.purge(Stream.journal, { below: end });
    log.debug({ first, end, kept }, "journal compacted");
  }
}
