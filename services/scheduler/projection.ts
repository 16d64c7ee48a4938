import type { Cancel, Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import { Stream } from "../../platform/nats/names.ts";
import type { StreamMessage } from "../../platform/nats/tail.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Bus } from "./bus.ts";
import type { Effect } from "./domain/commands.ts";
import { JobTable, type Store, type Transition } from "./jobs.ts";
import type { Batch } from "./journal.ts";
import { rebuild } from "./rebuild.ts";
import { checksumOf } from "./store.ts";
import { nextBatch, openStore, type Position } from "./takeover.ts";

/** Short jobs end within this and are then written once; a restart reads that much of the journal again. */
const FLUSH_MS = 5_000;
/** So many rows are flushed at once: what waits is in memory. */
const FLUSH_ROWS = 50_000;
const FLUSH_CHECK_MS = 500;

/**
 * What the journal says, as far as it was read: jobs in memory, the store behind them, and how far both go. A standby
 * follows with it; a leader goes on where the standby was.
 */
export class Projection {
  readonly table: JobTable;
  readonly store: Store;
  /** How far it goes; moves on with every batch. */
  readonly position: Position;
  readonly #clock: Clock;
  readonly #log: Logger;
  #flushing: Promise<unknown> = Promise.resolve();
  #cancelFlush: Cancel | undefined;
  #closed = false;
  #onFailed: (error: Error) => void = () => undefined;
  #flushesNow = false;

  /** Opens the store, anew if it does not fit the journal, brings it near the journal's end, loads the active jobs. */
  static async open(
    nats: Bus,
    clock: Clock,
    log: Logger,
    files: () => Store,
    signal?: AbortSignal,
  ): Promise<Projection> {
    const info = await nats.streamInfo(Stream.journal);
    const { store, position } = await openStore(files, nats, info, log);
    try {
      await rebuild(nats, store, position, signal);
      return new Projection(store, position, clock, log);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  constructor(store: Store, position: Position, clock: Clock, log: Logger) {
    this.store = store;
    this.position = position;
    this.#clock = clock;
    this.#log = log;
    this.table = new JobTable({ store, clock, lastAtMs: position.lastAtMs });
    for (const jobId of store.activeJobIds()) this.table.load(jobId);
  }

  /** Flushes now and then. @param onFailed the store can't be written: nothing more will be */
  start(onFailed: (error: Error) => void): void {
    this.#onFailed = onFailed;
    if (!this.#cancelFlush) this.#armFlush();
  }

  /**
   * Takes up the batch behind those it has.
   * @throws JournalTooNew
   * @throws ArrwError UNAVAILABLE when batches in between are gone
   */
  follow(message: StreamMessage): void {
    const { sequence } = message;
    for (const bytes of nextBatch(this.position, message).records) {
      this.table.replay(JournalRecord.decode(bytes), sequence, bytes);
    }
    // A whole journal is read faster than the timer looks.
    if (this.store.dirtyRows >= FLUSH_ROWS && this.#cancelFlush) this.#flushNow();
  }

  /** The journal has acknowledged a batch of this process. @returns what has to be done outside now */
  committed(batch: Batch<Transition>, sequence: number, bytes: Uint8Array): Effect[] {
    const { position } = this;
    position.sequence = sequence;
    position.bytes = bytes;
    position.outcomesThrough = batch.outcomesThrough;
    position.lastLease = batch.lastLease;
    position.queues = batch.queues;
    position.lastAtMs = batch.lastAtMs;
    return this.table.committed(batch, sequence);
  }

  /** Writes everything durable to the store and lets go of jobs that ended. @returns the sequence that it goes through */
  async flush(): Promise<number> {
    const { position, store, table } = this;
    if (this.#closed || position.bytes.length === 0) return 0;
    const flushing = store.flush(() => {
      const { streamCreatedAt, sequence, bytes } = position;
      return { streamCreatedAt, sequence, checksum: checksumOf(bytes) };
    });
    this.#flushing = flushing;
    const { through, jobIds } = await flushing;
    table.evict(jobIds);
    return through;
  }

  /** Ends it; what is not flushed is read from the journal again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelFlush?.();
    await this.#flushing.catch(() => undefined);
    await this.store.close();
  }

  #armFlush(waitedMs = 0): void {
    if (this.#closed) return;
    this.#cancelFlush = this.#clock.after(FLUSH_CHECK_MS, () => {
      const due = waitedMs + FLUSH_CHECK_MS >= FLUSH_MS || this.store.dirtyRows >= FLUSH_ROWS;
      if (due) this.#flushNow();
      else this.#armFlush(waitedMs + FLUSH_CHECK_MS);
    });
  }

  #flushNow(): void {
    if (this.#flushesNow) return;
    this.#flushesNow = true;
    this.#cancelFlush?.();
    this.flush()
      .catch((error: Error) => {
        this.#log.error({ err: error }, "writing the local store failed");
        if (!this.#closed) this.#onFailed(error);
      })
      .finally(() => {
        this.#flushesNow = false;
        this.#armFlush();
      });
  }
}
