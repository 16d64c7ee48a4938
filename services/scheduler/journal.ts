import { BinaryReader } from "@bufbuild/protobuf/wire";
import type { Clock } from "../../platform/clock.ts";
import { encode } from "../../platform/encode.ts";
import { unavailable } from "../../platform/errors.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { JournalBatch, JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";
import type { Queues } from "./queues.ts";

/**
 * The journal's one writer. Records decided while appends are in flight gather into the next batch; alone, a record
 * goes at once. Every append names the sequence it expects before it, so that a second writer is refused and no
 * hole can arise. One that is sent while another is in flight names that one, too: when a successor's EPOCH batch takes
 * the sequence of the first, the second would find the sequence that it expects. The first append that fails ends the term: whether it was stored is unknown, so nothing that is
 * in memory can be trusted any more.
 */

export const JOURNAL_VERSION = 1;
/** A batch is closed when it reaches this; JetStream takes messages up to 1 MB. */
export const MAX_BATCH_BYTES = 512 * 1024;
/** A job's record may not be larger; its documents are spooled, its checkpoint is bounded. */
export const MAX_RECORD_BYTES = 64 * 1024;
const MAX_IN_FLIGHT = 2;
const APPEND_TIMEOUT_MS = 5_000;

/** One record on its way; `bytes` is what the stream and the store hold. */
export interface PendingRecord<T> {
  readonly bytes: Buffer;
  readonly subject: T;
}

export class Batch<T> {
  readonly records: PendingRecord<T>[] = [];
  readonly done: Promise<void>;
  bytes = 0;
  outcomesThrough = 0;
  lastLease = 0n;
  queues: readonly Queue[] = [];
  lastAtMs = 0;
  resolve: () => void = () => undefined;
  reject: (error: Error) => void = () => undefined;

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // Most batches have nobody who waits; a failure ends the term anyway.
    this.done.catch(() => undefined);
  }
}

export interface JournalOptions<T> {
  readonly nats: Pick<Nats, "append">;
  readonly clock: Clock;
  /** Sequence of the term's EPOCH batch. */
  readonly epoch: number;
  readonly outcomesThrough: number;
  readonly lastLease: bigint;
  /** Carried by every batch as it is then. */
  readonly queues: Queues;
  /** Called for every durable batch, in order, before those who wait for it. */
  readonly onCommitted: (batch: Batch<T>, sequence: number, bytes: Uint8Array) => void;
  /** Called once, at the first append that fails. */
  readonly onLost: (error: Error) => void;
  readonly onAppended?: (records: number, bytes: number, seconds: number) => void;
}

export class Journal<T> {
  readonly #options: JournalOptions<T>;
  readonly #closed: Batch<T>[] = [];
  readonly #inFlight: Batch<T>[] = [];
  #gathering: Batch<T> | undefined;
  #lastSequence: number;
  #flushQueued = false;
  #lost: Error | undefined;
  #backlogBytes = 0;
  /** Messages of OUTCOMES up to here are in what was appended. */
  outcomesThrough: number;
  /** Highest lease number given out. */
  lastLease: bigint;
  /** Unix ms of the newest decision. */
  lastAtMs = 0;

  constructor(options: JournalOptions<T>) {
    this.#options = options;
    this.#lastSequence = options.epoch;
    this.outcomesThrough = options.outcomesThrough;
    this.lastLease = options.lastLease;
  }

  /** Adds a record to the next batch; its `done` is the acknowledgement. */
  append(record: PendingRecord<T>): Batch<T> {
    const batch = this.#batchFor(record.bytes.length);
    batch.records.push(record);
    batch.bytes += record.bytes.length + 6;
    this.#backlogBytes += record.bytes.length;
    this.#queueFlush();
    return batch;
  }

  /** Makes sure that a batch goes out, for what all batches carry; its `done` is the acknowledgement. */
  touch(): Batch<T> {
    const batch = this.#batchFor(0);
    this.#queueFlush();
    return batch;
  }

  /** Bytes of records that are not acknowledged. */
  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  #batchFor(bytes: number): Batch<T> {
    let batch = this.#gathering;
    if (batch && batch.bytes + bytes > MAX_BATCH_BYTES) {
      // Closed in the midst of a message of OUTCOMES, perhaps: it can't speak for all of that message yet.
      this.#close(batch);
      batch = undefined;
    }
    if (!batch) {
      batch = new Batch<T>();
      this.#gathering = batch;
      if (this.#lost) batch.reject(this.#lost);
    }
    return batch;
  }

  /** Resolves when all that was appended so far is durable. */
  async settled(): Promise<void> {
    const last = this.#gathering ?? this.#closed.at(-1) ?? this.#inFlight.at(-1);
    await last?.done;
  }

  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /** Ends the term: all who wait get the error. */
  fail(error: Error): void {
    if (this.#lost) return;
    const message = "it is not known whether the change was stored: repeat the call with the same ids";
    const reason = unavailable(message, { cause: error, retryAfterMs: 500 });
    this.#lost = reason;
    for (const batch of [...this.#inFlight, ...this.#closed]) batch.reject(reason);
    this.#gathering?.reject(reason);
    this.#options.onLost(error);
  }

  #close(batch: Batch<T>): void {
    batch.outcomesThrough = this.outcomesThrough;
    batch.lastLease = this.lastLease;
    batch.lastAtMs = this.lastAtMs;
    batch.queues = this.#options.queues.list();
    this.#closed.push(batch);
    if (this.#gathering === batch) this.#gathering = undefined;
  }

  /** At the end of the current turn, so that all of one call or message goes together. */
  #queueFlush(): void {
    if (this.#flushQueued || this.#inFlight.length >= MAX_IN_FLIGHT) return;
    this.#flushQueued = true;
    queueMicrotask(() => {
      this.#flushQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    while (!this.#lost && this.#inFlight.length < MAX_IN_FLIGHT) {
      if (this.#closed.length === 0 && this.#gathering) this.#close(this.#gathering);
      const batch = this.#closed.shift();
      if (!batch) return;
      this.#send(batch);
    }
  }

  #send(batch: Batch<T>): void {
    const { nats, clock, epoch, onCommitted, onAppended } = this.#options;
    const bytes = encode(JournalBatch, {
      version: JOURNAL_VERSION,
      epoch: BigInt(epoch),
      outcomesThrough: BigInt(batch.outcomesThrough),
      lastLease: batch.lastLease,
      leaderAddress: "",
      records: batch.records.map((record) => record.bytes),
      queues: [...batch.queues],
      lastAt: new Date(batch.lastAtMs),
    });
    const expectedLastSequence = this.#lastSequence;
    this.#lastSequence += 1;
    const options = {
      timeoutMs: APPEND_TIMEOUT_MS,
      expectedLastSequence,
      messageId: `${epoch}.${expectedLastSequence + 1}`,
      ...(this.#inFlight.length > 0 && { expectedLastMessageId: `${epoch}.${expectedLastSequence}` }),
    };
    this.#inFlight.push(batch);
    const startedAtMs = clock.monotonic();
    nats.append(Subject.journal, bytes, options).then(
      (sequence) => {
        if (this.#lost) return;
        if (this.#inFlight[0] !== batch || sequence !== expectedLastSequence + 1) {
          this.fail(
            new Error(`batch ${expectedLastSequence + 1} was acknowledged out of order as ${sequence}`),
          );
          return;
        }
        this.#inFlight.shift();
        for (const record of batch.records) this.#backlogBytes -= record.bytes.length;
        onAppended?.(batch.records.length, bytes.length, (clock.monotonic() - startedAtMs) / 1000);
        onCommitted(batch, sequence, bytes);
        batch.resolve();
        this.#flush();
      },
      (error: unknown) => this.fail(error instanceof Error ? error : new Error(String(error))),
    );
  }
}

/** The job of an encoded record: its first field, so the rest is not decoded. */
export function jobIdOf(record: Uint8Array): string {
  const reader = new BinaryReader(record);
  reader.uint32();
  return reader.string();
}

/** Encodes a record; `state` is left out for a tombstone. */
export function encodeRecord(record: JournalRecord): Buffer {
  return encode(JournalRecord, record);
}
