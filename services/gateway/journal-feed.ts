import { setTimeout as delay } from "node:timers/promises";
import { unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import type { StoredMessage } from "../../platform/nats/direct-batch.ts";
import type { Follow } from "../../platform/nats/follow.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import { JournalBatch } from "./journal-batch.ts";

/** The one live reader of the journal in this process; it reads while somebody listens. */

export interface FeedListener {
  /** In the journal's order. */
  onBatch(batch: JournalBatch): void;
  /** Batches from this sequence on were removed before they came here. */
  onGap(sequence: number): void;
  /** The journal has lost its newest part, or is another one: sequences mean something else now. */
  onReset(): void;
}

export interface JournalFeedOptions {
  readonly nats: Nats;
  readonly log: Logger;
}

const LINGER_MS = 5_000;
const COMPARE_AGAIN_MS = 500;
/** A new feed begins this far before the journal's end. */
const BATCHES_BACK = 8;
const MAX_RECENT = 64;
const MAX_RECENT_BYTES = 2 * 1024 * 1024;

export class JournalFeed implements Part {
  readonly name = "journal feed";
  readonly #options: JournalFeedOptions;
  readonly #listeners = new Set<FeedListener>();
  #recent: JournalBatch[] = [];
  #recentBytes = 0;
  /** The sequence that comes next; 0 = the feed is not open. */
  #next = 0;
  #opening: Promise<Follow> | undefined;
  /** Counts openings: what an older one brings is dropped. */
  #opened = 0;
  #linger: NodeJS.Timeout | undefined;
  #forgetReconnect: (() => void) | undefined;
  #comparing = false;
  #stopped = false;

  constructor(options: JournalFeedOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#forgetReconnect = this.#options.nats.onReconnect(() => void this.#compare());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forgetReconnect?.();
    this.#listeners.clear();
    await this.#close();
  }

  /** Resolves when every later batch will be given to the listener. Twice is fine. @throws ArrwError UNAVAILABLE */
  async join(listener: FeedListener): Promise<void> {
    if (this.#stopped) throw unavailable("the gateway is stopping");
    this.#listeners.add(listener);
    clearTimeout(this.#linger);
    if (!this.#opening) {
      const opening = this.#open();
      this.#opening = opening;
      opening.catch(() => {
        if (this.#opening === opening) this.#forget();
      });
    }
    await this.#opening;
  }

  leave(listener: FeedListener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size > 0 || this.#stopped) return;
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => {
      if (this.#listeners.size === 0) void this.#close();
    }, LINGER_MS);
    this.#linger.unref();
  }

  /** The newest batches that came, oldest first: at least 8, where the journal has as many. */
  get recent(): readonly JournalBatch[] {
    return this.#recent;
  }

  /**
   * Those that came from this sequence on; all later ones are given to listeners. undefined = older ones than the
   * feed still has are wanted: they must be read from the journal.
   */
  since(sequence: number): readonly JournalBatch[] | undefined {
    const oldest = this.#recent[0]?.sequence ?? this.#next;
    if (this.#next === 0 || sequence < oldest) return undefined;
    return this.#recent.filter((batch) => batch.sequence >= sequence);
  }

  async #open(): Promise<Follow> {
    const { nats } = this.#options;
    const opened = this.#opened;
    const { firstSequence, lastSequence } = await nats.streamInfo(Stream.journal);
    if (opened !== this.#opened) throw unavailable("the journal is not read any more");
    const fromSequence = Math.max(1, firstSequence, lastSequence + 1 - BATCHES_BACK);
    this.#next = fromSequence;
    const follow = nats.follow({
      stream: Stream.journal,
      subject: Subject.journal,
      feed: Subject.journalFeed,
      fromSequence,
      onMessage: (message) => {
        if (opened === this.#opened) this.#onMessage(message);
      },
    });
    try {
      await follow.start();
    } catch (error) {
      await follow.stop();
      throw error;
    }
    return follow;
  }

  async #close(): Promise<void> {
    clearTimeout(this.#linger);
    const opening = this.#opening;
    this.#forget();
    await (await opening?.catch(() => undefined))?.stop();
  }

  #forget(): void {
    this.#opened += 1;
    this.#opening = undefined;
    this.#recent = [];
    this.#recentBytes = 0;
    this.#next = 0;
  }

  #onMessage({ sequence, data }: StoredMessage): void {
    if (sequence < this.#next) return;
    if (sequence > this.#next) {
      const missing = this.#next;
      this.#recent = [];
      this.#recentBytes = 0;
      for (const listener of this.#listeners) listener.onGap(missing);
    }
    this.#next = sequence + 1;
    let batch: JournalBatch;
    try {
      batch = new JournalBatch(sequence, data);
    } catch (error) {
      this.#options.log.error({ err: error, sequence }, "a journal batch can't be read");
      return;
    }
    this.#keep(batch);
    for (const listener of this.#listeners) {
      try {
        listener.onBatch(batch);
      } catch (error) {
        this.#options.log.error({ err: error, sequence }, "a journal batch can't be taken up");
      }
    }
  }

  #keep(batch: JournalBatch): void {
    this.#recent.push(batch);
    this.#recentBytes += batch.bytes;
    const over = (): boolean =>
      this.#recent.length > MAX_RECENT ||
      (this.#recentBytes > MAX_RECENT_BYTES && this.#recent.length > BATCHES_BACK);
    while (over()) this.#recentBytes -= this.#recent.shift()?.bytes ?? 0;
  }

  /** A server without what it had acknowledged (a disk lost, a power cut) counts sequences anew. */
  async #compare(): Promise<void> {
    const { nats, log } = this.#options;
    const opened = this.#opened;
    const last = this.#next - 1;
    if (this.#comparing || last < 0) return;
    this.#comparing = true;
    let now: number | undefined;
    while (now === undefined && opened === this.#opened) {
      now = await nats.streamInfo(Stream.journal).then(
        ({ lastSequence }) => lastSequence,
        () => delay(COMPARE_AGAIN_MS, undefined, { ref: false }),
      );
    }
    this.#comparing = false;
    if (now === undefined || now >= last || opened !== this.#opened) return;
    log.warn({ last: now, seen: last }, "the journal ends before what it held");
    const listeners = [...this.#listeners];
    await this.#close();
    for (const listener of listeners) {
      listener.onReset();
      if (this.#listeners.has(listener)) await this.join(listener).catch(() => undefined);
    }
  }
}
