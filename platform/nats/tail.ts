import {
  AckPolicy,
  createInbox,
  DeliverPolicy,
  type JetStreamManager,
  type Msg,
  type NatsConnection,
  nanos,
  ReplayPolicy,
  type Subscription,
} from "nats";
import type { Logger } from "../log.ts";

/**
 * Reads a stream in order, from a sequence on, for ever: an ephemeral push consumer without acknowledgements that
 * is made anew behind the last message whenever one is missing, the server restarted or the link broke. Built here
 * because the client's ordered consumer gives up when the server is away while it re-creates itself.
 */

export interface StreamMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly data: Uint8Array;
  /** Messages of the stream behind this one when it was sent; 0 = this is the end. */
  readonly pending: number;
}

export interface TailOptions {
  readonly stream: string;
  /** First sequence wanted; an older one than the stream holds starts at the oldest. */
  readonly fromSequence: number;
  readonly filterSubject?: string;
  readonly onMessage: (message: StreamMessage) => void;
  /** Registers a listener for reconnects: a restarted server has lost the consumer. */
  readonly onReconnect: (listener: () => void) => () => void;
}

const IDLE_HEARTBEAT_MS = 1_000;
const SILENCE_MS = 3_500;
const RETRY_MS = 250;

export class Tail {
  readonly #connection: NatsConnection;
  readonly #jsm: JetStreamManager;
  readonly #log: Logger;
  readonly #options: TailOptions;
  #next: number;
  #consumerSequence = 0;
  #consumer = "";
  #subscription: Subscription | undefined;
  #heardAt = 0;
  #monitor: NodeJS.Timeout | undefined;
  #resetting = false;
  #stopped = false;
  /** Counts the consumers asked for: what belongs to an older one than the newest is dropped. */
  #opened = 0;
  #forgetReconnect: (() => void) | undefined;

  constructor(connection: NatsConnection, jsm: JetStreamManager, log: Logger, options: TailOptions) {
    this.#connection = connection;
    this.#jsm = jsm;
    this.#log = log;
    this.#options = options;
    this.#next = Math.max(1, options.fromSequence);
  }

  /** Resolves when the consumer exists: whatever is appended later will be seen. */
  async start(): Promise<void> {
    await this.#open();
    // Messages may arrive before the reply does, and be all that was wanted.
    if (this.#stopped) return;
    this.#forgetReconnect = this.#options.onReconnect(() => this.#reset("reconnect"));
    this.#monitor = setInterval(() => {
      if (performance.now() - this.#heardAt > SILENCE_MS) this.#reset("silence");
    }, IDLE_HEARTBEAT_MS);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearInterval(this.#monitor);
    this.#forgetReconnect?.();
    this.#close();
  }

  async #open(): Promise<void> {
    const inbox = createInbox();
    this.#opened += 1;
    const opened = this.#opened;
    this.#consumerSequence = 0;
    this.#subscription = this.#connection.subscribe(inbox, {
      callback: (error, message) => {
        if (!error) this.#onMessage(message);
      },
    });
    const { stream, filterSubject } = this.#options;
    const info = await this.#jsm.consumers.add(stream, {
      deliver_subject: inbox,
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: this.#next,
      ack_policy: AckPolicy.None,
      replay_policy: ReplayPolicy.Instant,
      max_deliver: 1,
      flow_control: true,
      idle_heartbeat: nanos(IDLE_HEARTBEAT_MS),
      inactive_threshold: nanos(30_000),
      mem_storage: true,
      num_replicas: 1,
      ...(filterSubject === undefined ? {} : { filter_subject: filterSubject }),
    });
    if (opened !== this.#opened || this.#stopped) {
      this.#delete(info.name);
      return;
    }
    this.#consumer = info.name;
    this.#heardAt = performance.now();
  }

  #close(): void {
    this.#subscription?.unsubscribe();
    this.#subscription = undefined;
    if (this.#consumer !== "") this.#delete(this.#consumer);
    this.#consumer = "";
  }

  /** What fails here the server does by itself after the inactive threshold. */
  #delete(consumer: string): void {
    if (this.#connection.isClosed()) return;
    this.#jsm.consumers.delete(this.#options.stream, consumer).catch(() => undefined);
  }

  #onMessage(message: Msg): void {
    this.#heardAt = performance.now();
    if (message.headers?.code === 100) {
      this.#onControl(message);
      return;
    }
    const tokens = message.reply?.split(".") ?? [];
    // $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<time>.<pending>[.x]
    const shift = tokens.length >= 11 ? 2 : 0;
    const sequence = Number(tokens[5 + shift]);
    const consumerSequence = Number(tokens[6 + shift]);
    if (!Number.isSafeInteger(sequence)) return;
    if (consumerSequence !== this.#consumerSequence + 1) {
      this.#reset("gap");
      return;
    }
    this.#consumerSequence = consumerSequence;
    if (sequence < this.#next) return;
    this.#next = sequence + 1;
    this.#options.onMessage({
      sequence,
      subject: message.subject,
      data: message.data,
      pending: Number(tokens[8 + shift]),
    });
  }

  #onControl(message: Msg): void {
    if (message.reply) {
      message.respond();
      return;
    }
    const stalled = message.headers?.get("Nats-Consumer-Stalled");
    if (stalled) this.#connection.publish(stalled);
    const last = message.headers?.get("Nats-Last-Consumer");
    if (last && Number(last) !== this.#consumerSequence) this.#reset("gap at heartbeat");
  }

  /** A reconnect starts over at once: a request sent while the link was down only waits for its time-out. */
  #reset(reason: string): void {
    if (this.#stopped || (this.#resetting && reason !== "reconnect")) return;
    this.#resetting = true;
    this.#log.debug({ stream: this.#options.stream, next: this.#next, reason }, "tail starts again");
    const attempt = (): void => {
      if (this.#stopped) return;
      this.#close();
      const opening = this.#open();
      const opened = this.#opened;
      opening.then(
        () => {
          if (opened === this.#opened) this.#resetting = false;
        },
        () => {
          const again = (): void => {
            if (opened === this.#opened) attempt();
          };
          setTimeout(again, RETRY_MS).unref();
        },
      );
    };
    attempt();
  }
}
