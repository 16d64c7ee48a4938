import { setTimeout as delay } from "node:timers/promises";
import { ArrwError, toArrwError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import type { StoredMessage } from "../../platform/nats/direct-batch.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import { formatCursor } from "./domain/watch-cursor.ts";
import { JournalBatch } from "./journal-batch.ts";

/** Reads parts of the journal for watchers that are behind: a few at a time, the others wait their turn. */

const READS_AT_A_TIME = 8;
/** What one read may hold. */
const READ = { maxMessages: 512, maxBytes: 512 * 1024 } as const;
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
   * The batches from `sequence` on, as many as one read takes: none at the journal's end.
   * @throws ArrwError OUT_OF_RANGE when they are no longer held; UNAVAILABLE
   */
  async read(sequence: number, signal: AbortSignal): Promise<JournalPart> {
    await this.#turn();
    try {
      return await this.#read(sequence, signal);
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

  async #read(sequence: number, signal: AbortSignal): Promise<JournalPart> {
    const range = { subject: Subject.journal, from: sequence, ...READ };
    for (let tries = 1; ; tries++) {
      if (signal.aborted) throw toArrwError(signal.reason);
      const messages = await this.#nats.getBatch(Stream.journal, range);
      const hole = messages.findIndex((message, n) => message.sequence !== sequence + n);
      const found = hole < 0 ? messages : messages.slice(0, hole);
      if (found.length > 0) {
        const batches = found.flatMap((message) => this.#parsed(message));
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

  #parsed({ sequence, data }: StoredMessage): JournalBatch[] {
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
