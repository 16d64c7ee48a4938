import { setTimeout as delay } from "node:timers/promises";
import { ArrwError, toArrwError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import { formatCursor } from "./domain/watch-cursor.ts";
import { JournalBatch } from "./journal-batch.ts";

/** Reads parts of the journal for watchers that are behind: a few at a time, the others wait their turn. */

const READS_AT_A_TIME = 8;
const MAX_BATCHES = 32;
/** What one read may hold, as far as the read before tells. */
const READ_BYTES = 1024 * 1024;
const FIRST_BATCHES = 4;
const MISSING_WAIT_MS = 50;
const MISSING_TRIES = 40;

/** What one watcher has read; `batches` are in order, without a gap. */
export interface JournalPart {
  readonly batches: readonly JournalBatch[];
  /** First sequence behind it. */
  readonly next: number;
}

export class JournalReader {
  readonly #nats: Nats;
  readonly #log: Logger;
  readonly #waiting: (() => void)[] = [];
  #reads = 0;

  constructor(nats: Nats, log: Logger) {
    this.#nats = nats;
    this.#log = log;
  }

  /**
   * The batches from `sequence` on, as many as one read takes: none at the journal's end. `bytesEach` = size of those
   * read before, 0 = unknown.
   * @throws ArrwError OUT_OF_RANGE when they are no longer held; UNAVAILABLE
   */
  async read(sequence: number, bytesEach: number, signal: AbortSignal): Promise<JournalPart> {
    await this.#turn();
    try {
      return await this.#read(sequence, bytesEach, signal);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#reads -= 1;
    }
  }

  async #turn(): Promise<void> {
    if (this.#reads < READS_AT_A_TIME) this.#reads += 1;
    // Who ends hands its turn on.
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  async #read(sequence: number, bytesEach: number, signal: AbortSignal): Promise<JournalPart> {
    const wanted = bytesEach === 0 ? FIRST_BATCHES : Math.floor(READ_BYTES / bytesEach);
    const count = Math.min(Math.max(1, wanted), MAX_BATCHES);
    for (let tries = 1; ; tries++) {
      if (signal.aborted) throw toArrwError(signal.reason);
      const messages = await Promise.all(
        Array.from({ length: count }, (_, n) =>
          this.#nats.getMessage(Stream.journal, { sequence: sequence + n }),
        ),
      );
      const missing = messages.indexOf(undefined);
      const found = missing < 0 ? messages : messages.slice(0, missing);
      if (found.length > 0) {
        const batches = found.flatMap((message, n) => this.#parsed(sequence + n, message?.data));
        return { batches, next: sequence + found.length };
      }
      const { firstSequence, lastSequence } = await this.#nats.streamInfo(Stream.journal);
      if (sequence < firstSequence) throw cursorExpired(firstSequence);
      if (sequence > lastSequence) return { batches: [], next: sequence };
      // A replica answers that has not got it yet. Nothing removes batches from the middle.
      if (tries === MISSING_TRIES) {
        this.#log.error({ sequence }, "the journal lacks a batch");
        return { batches: [], next: sequence + 1 };
      }
      await delay(MISSING_WAIT_MS);
    }
  }

  #parsed(sequence: number, data: Uint8Array | undefined): JournalBatch[] {
    if (!data) return [];
    try {
      return [new JournalBatch(sequence, data)];
    } catch (error) {
      this.#log.error({ err: error, sequence }, "a journal batch can't be read");
      return [];
    }
  }
}

/** The journal holds nothing older than `firstSequence`. */
export function cursorExpired(firstSequence: number): ArrwError {
  const message =
    "what follows this cursor is no longer held; list the jobs and watch from the list's cursor";
  return new ArrwError("OUT_OF_RANGE", message, {
    reason: "CURSOR_EXPIRED",
    metadata: { oldest: formatCursor(Math.max(0, firstSequence - 1)) },
  });
}
