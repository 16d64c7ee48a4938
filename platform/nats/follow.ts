import type { Msg, NatsConnection, Subscription } from "nats";
import type { Logger } from "../log.ts";
import { type BatchRange, type StoredMessage, storedMessage } from "./direct-batch.ts";
import type { StreamInfo } from "./stream-calls.ts";

/**
 * Reads a stream in order, from a sequence on, for ever, without a consumer: the server publishes each message it has
 * stored once more, on the stream's feed, and what was missed there is read from the stream. Whoever may make a
 * consumer can have messages delivered to any subject of the streams' account, and so write to other streams;
 * processes in another account can't be given that.
 */

export interface FollowOptions {
  readonly stream: string;
  /** The stream's subjects, and where each of its messages is published again. */
  readonly subject: string;
  readonly feed: string;
  /** First sequence wanted; an older one than the stream holds starts at the oldest. */
  readonly fromSequence: number;
  readonly onMessage: (message: StoredMessage) => void;
}

export interface FollowSource {
  readonly connection: NatsConnection;
  readonly log: Logger;
  batch(stream: string, range: BatchRange): Promise<StoredMessage[]>;
  info(stream: string): Promise<StreamInfo>;
  onReconnect(listener: () => void): () => void;
}

const LOOK_MS = 1_000;
const SILENCE_MS = 2_500;
const RETRY_MS = 250;
/** Empty answers before what the stream should have counts as removed. */
const EMPTY_TRIES = 8;
const BATCH_MESSAGES = 256;
const BATCH_BYTES = 4 * 1024 * 1024;

export class Follow {
  readonly #source: FollowSource;
  readonly #options: FollowOptions;
  #next: number;
  /** Highest sequence heard on the feed. */
  #heard = 0;
  #heardAtMs = 0;
  #subscription: Subscription | undefined;
  /** The reading under way. Another takes its place at a reconnect: answers to what was asked before never come. */
  #reading: symbol | undefined;
  #monitor: NodeJS.Timeout | undefined;
  #forgetReconnect: (() => void) | undefined;
  #stopped = false;

  constructor(source: FollowSource, options: FollowOptions) {
    this.#source = source;
    this.#options = options;
    this.#next = Math.max(1, options.fromSequence);
  }

  /** Resolves when all that is stored has been given, and whatever is appended later will be. @throws ArrwError */
  async start(): Promise<void> {
    const { connection, onReconnect } = this.#source;
    this.#subscription = connection.subscribe(this.#options.feed, {
      callback: (error, message) => {
        if (!error) this.#onLive(message);
      },
    });
    await connection.flush();
    this.#heardAtMs = performance.now();
    const reading = Symbol();
    this.#reading = reading;
    await this.#toTheEnd(reading);
    this.#reading = undefined;
    if (this.#stopped) return;
    this.#forgetReconnect = onReconnect(() => void this.#readAnew());
    this.#monitor = setInterval(() => {
      if (performance.now() - this.#heardAtMs > SILENCE_MS) this.#read();
    }, LOOK_MS);
    if (this.#heard >= this.#next) this.#read();
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#monitor);
    this.#forgetReconnect?.();
    this.#subscription?.unsubscribe();
  }

  #onLive(live: Msg): void {
    const message = storedMessage(live);
    if (this.#stopped || !message) return;
    const { sequence } = message;
    this.#heardAtMs = performance.now();
    this.#heard = Math.max(this.#heard, sequence);
    if (this.#reading || sequence < this.#next) return;
    if (sequence > this.#next) this.#read();
    else this.#give(message);
  }

  #give(message: StoredMessage): void {
    this.#next = message.sequence + 1;
    this.#options.onMessage(message);
  }

  #read(): void {
    if (!this.#reading) void this.#readAnew();
  }

  /** Reads what was missed, as often as it takes. */
  async #readAnew(): Promise<void> {
    const reading = Symbol();
    this.#reading = reading;
    for (let done = false; !done && this.#isWanted(reading); ) {
      try {
        await this.#toTheEnd(reading);
        done = true;
      } catch (error) {
        this.#source.log.debug({ err: error, stream: this.#options.stream }, "a stream can't be read now");
        await pause(RETRY_MS);
      }
    }
    if (!this.#isWanted(reading)) return;
    this.#reading = undefined;
    this.#heardAtMs = performance.now();
    // Heard between the last look and now.
    if (this.#heard >= this.#next) this.#read();
  }

  #isWanted(reading: symbol): boolean {
    return !this.#stopped && this.#reading === reading;
  }

  async #toTheEnd(reading: symbol): Promise<void> {
    const { stream, subject } = this.#options;
    const { firstSequence, lastSequence } = await this.#source.info(stream);
    if (firstSequence > this.#next) this.#next = firstSequence;
    const end = Math.max(lastSequence, this.#heard);
    for (let empty = 0; this.#next <= end && this.#isWanted(reading); ) {
      const range = { subject, from: this.#next, maxMessages: BATCH_MESSAGES, maxBytes: BATCH_BYTES };
      const messages = await this.#source.batch(stream, range);
      for (const message of messages) {
        if (this.#isWanted(reading) && message.sequence >= this.#next) this.#give(message);
      }
      empty = messages.length > 0 ? 0 : empty + 1;
      if (empty > 0 && (await this.#isAtEnd(reading, empty))) return;
    }
  }

  /** A replica that lags, or messages that were removed meanwhile: the stream's own word decides. */
  async #isAtEnd(reading: symbol, empty: number): Promise<boolean> {
    const heard = this.#heard;
    const { firstSequence, lastSequence, messages } = await this.#source.info(this.#options.stream);
    if (!this.#isWanted(reading)) return true;
    const hasHoles = messages < lastSequence - firstSequence + 1;
    if (messages === 0 || lastSequence < this.#next || (hasHoles && empty >= EMPTY_TRIES)) {
      this.#next = Math.max(this.#next, lastSequence + 1);
      // What was heard before the stream was asked, and is behind its end, it has lost.
      if (this.#heard === heard) this.#heard = 0;
      return true;
    }
    if (firstSequence > this.#next) this.#next = firstSequence;
    else await pause(RETRY_MS);
    return false;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
