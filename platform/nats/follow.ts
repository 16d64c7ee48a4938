import type { Msg, NatsConnection, Subscription } from "nats";
import type { Logger } from "../log.ts";
import type { BatchRange, StoredMessage } from "./direct-batch.ts";
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
  #reading: Promise<void> | undefined;
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
    const reading = this.#toTheEnd();
    this.#reading = reading.catch(() => undefined);
    await reading.finally(() => {
      this.#reading = undefined;
    });
    if (this.#stopped) return;
    this.#forgetReconnect = onReconnect(() => this.#read());
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

  #onLive({ headers, data }: Msg): void {
    const sequence = Number(headers?.get("Nats-Sequence"));
    if (this.#stopped || !(sequence > 0)) return;
    this.#heardAtMs = performance.now();
    this.#heard = Math.max(this.#heard, sequence);
    if (this.#reading || sequence < this.#next) return;
    if (sequence > this.#next) this.#read();
    else this.#give({ sequence, subject: headers?.get("Nats-Subject") ?? "", data });
  }

  #give(message: StoredMessage): void {
    this.#next = message.sequence + 1;
    this.#options.onMessage(message);
  }

  /** Reads what was missed, as often as it takes. */
  #read(): void {
    if (this.#reading || this.#stopped) return;
    const attempt = (): Promise<void> =>
      this.#toTheEnd().catch(async (error: unknown) => {
        this.#source.log.debug({ err: error, stream: this.#options.stream }, "a stream can't be read now");
        await pause(RETRY_MS);
        if (!this.#stopped) await attempt();
      });
    this.#reading = attempt().finally(() => {
      this.#reading = undefined;
      this.#heardAtMs = performance.now();
      // Heard between the last look and now.
      if (this.#heard >= this.#next) this.#read();
    });
  }

  async #toTheEnd(): Promise<void> {
    const { stream, subject } = this.#options;
    const { firstSequence, lastSequence } = await this.#source.info(stream);
    if (firstSequence > this.#next) this.#next = firstSequence;
    const end = Math.max(lastSequence, this.#heard);
    while (this.#next <= end && !this.#stopped) {
      const range = { subject, from: this.#next, maxMessages: BATCH_MESSAGES, maxBytes: BATCH_BYTES };
      const messages = await this.#source.batch(stream, range);
      for (const message of messages) {
        if (!this.#stopped && message.sequence >= this.#next) this.#give(message);
      }
      if (messages.length > 0) continue;
      // A replica that lags, or messages that were removed meanwhile: the stream's own word decides.
      const now = await this.#source.info(stream);
      if (now.messages === 0 || now.lastSequence < this.#next) {
        this.#next = Math.max(this.#next, now.lastSequence + 1);
        return;
      }
      if (now.firstSequence > this.#next) this.#next = now.firstSequence;
      else await pause(RETRY_MS);
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
