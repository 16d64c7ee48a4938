import type { KV, NatsConnection } from "nats";
import { unavailable } from "../errors.ts";
import type { Part } from "../lifecycle.ts";
import type { Logger } from "../log.ts";
import type { Registry } from "../metrics.ts";
import { connectionOptions, connectWhenThere, isGuest, type NatsAccess, OWN_API } from "./access.ts";
import { type BusMessage, type BusSubscription, busMessage } from "./bus.ts";
import type { BatchRange, StoredMessage } from "./direct-batch.ts";
import { Follow, type FollowOptions } from "./follow.ts";
import { atMost, watchLink } from "./link-status.ts";
import { askToRemove } from "./object-removal.ts";
import { type AppendOptions, Publisher } from "./publisher.ts";
import { readRange } from "./read-range.ts";
import { readSubject } from "./read-subject.ts";
import {
  type FoundMessage,
  type Purge,
  retryWhileStarting,
  StreamCalls,
  type StreamInfo,
  untilMade,
} from "./stream-calls.ts";
import { putStream, type StreamSpec } from "./stream-spec.ts";
import { type StreamMessage, Tail, type TailOptions } from "./tail.ts";
import { type TtlBucket, ttlBucketOf } from "./ttl-bucket.ts";

export type { BusMessage, BusSubscription } from "./bus.ts";
export type { StreamInfo } from "./stream-calls.ts";

/** The one adapter to NATS: no type of the client library leaves this folder. It reconnects for ever. */

export interface NatsOptions extends NatsAccess {
  /** Shown by the server's connection list. */
  readonly name: string;
  readonly log: Logger;
  readonly registry?: Registry;
  /** Ping interval; two missed ones break the connection. Default 2,000. */
  readonly pingIntervalMs?: number;
}

const MIN_SERVER = [2, 10] as const;
export class Nats implements Part {
  readonly name = "nats";
  readonly #options: NatsOptions;
  readonly #onReconnect = new Set<() => void>();
  #connection: NatsConnection | undefined;
  #streamCalls: StreamCalls | undefined;
  #publisher: Publisher | undefined;
  #connected = false;
  #stopped = false;

  constructor(options: NatsOptions) {
    this.#options = options;
  }

  /** Whether the streams are another account's, which alone makes, changes and purges them. */
  get isGuest(): boolean {
    return isGuest(this.#options);
  }

  get #apiPrefix(): string {
    return this.#options.apiPrefix ?? OWN_API;
  }

  /** Waits for a server as long as it takes. @throws Error when the server is older than 2.10 or lacks JetStream */
  async start(): Promise<void> {
    const { url, name, log, pingIntervalMs } = this.#options;
    const shown = url.replace(/\/\/[^@/\s]+@/g, "//***@");
    log.info({ url: shown }, "connecting to NATS");
    const options = {
      ...connectionOptions(this.#options),
      name,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 200,
      reconnectJitter: 100,
      pingInterval: pingIntervalMs ?? 2_000,
      maxPingOut: 2,
      timeout: 3_000,
      noAsyncTraces: true,
    };
    const connection = await connectWhenThere(options, {
      onWaiting: (reason) => log.warn({ url: shown, reason }, "still not connected to NATS"),
      isWanted: () => !this.#stopped,
    });
    if (this.#stopped) {
      await connection.close();
      throw unavailable("NATS is not wanted any more");
    }
    this.#connection = connection;
    this.#connected = true;
    const version = connection.info?.version ?? "0";
    const [major = 0, minor = 0] = version.split(".").map(Number);
    if (major < MIN_SERVER[0] || (major === MIN_SERVER[0] && minor < MIN_SERVER[1])) {
      await connection.close();
      throw new Error(`nats-server ${version} is too old: 2.10 or newer is needed`);
    }
    if (!connection.info?.jetstream) {
      await connection.close();
      throw new Error("this nats-server has no JetStream: start it with -js");
    }
    watchLink(connection, {
      log,
      registry: this.#options.registry,
      onDisconnect: () => {
        this.#connected = false;
        this.#publisher?.disconnected();
      },
      onReconnect: () => {
        this.#connected = true;
        this.#publisher?.reconnected();
        for (const listener of this.#onReconnect) listener();
      },
    });
    const apiPrefix = this.#apiPrefix;
    const manager = await connection.jetstreamManager({ apiPrefix, checkAPI: false, timeout: 5_000 });
    this.#streamCalls = new StreamCalls(connection, manager, apiPrefix);
    this.#publisher = new Publisher(connection);
    log.info({ server: version }, "connected to NATS");
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const connection = this.#connection;
    this.#connection = undefined;
    if (!connection) return;
    this.#publisher?.close();
    // A drain flushes what was published; it must not hold up the stop when the server is away.
    if (this.#connected) await atMost(1_000, connection.drain());
    await connection.close().catch(() => undefined);
  }

  /** Why there is no connection now; undefined = there is. */
  unready(): string | undefined {
    return this.#connected ? undefined : "not connected to NATS";
  }

  /** Called after every reconnect. */
  onReconnect(listener: () => void): () => void {
    this.#onReconnect.add(listener);
    return () => this.#onReconnect.delete(listener);
  }

  publish(subject: string, data: Uint8Array): void {
    this.#open().publish(subject, data);
  }

  /** Round trip to the server: all that was published before has reached it. */
  async flush(): Promise<void> {
    await this.#open().flush();
  }

  /** @throws ArrwError UNAVAILABLE without a reply in time */
  async request(subject: string, data: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    try {
      const reply = await this.#open().request(subject, data, { timeout: timeoutMs });
      return reply.data;
    } catch (error) {
      throw unavailable(`no reply on ${subject}`, { cause: error });
    }
  }

  /** The handler must not throw; what it throws is logged. `queue`: one subscriber of its name gets each message. */
  subscribe(
    subject: string,
    handler: (message: BusMessage) => void,
    options: { readonly queue?: string } = {},
  ): BusSubscription {
    return this.#open().subscribe(subject, {
      ...options,
      callback: (error, message) => {
        if (error) return;
        try {
          handler(busMessage(message));
        } catch (thrown) {
          this.#options.log.error({ err: thrown, subject }, "message handler failed");
        }
      },
    });
  }

  /** Appends to the stream that holds the subject. @throws AppendError */
  append(subject: string, data: Uint8Array, options: AppendOptions): Promise<number> {
    if (!this.#publisher) throw unavailable("not connected to NATS");
    return this.#publisher.append(subject, data, options);
  }

  /** Makes the stream where it is missing: file storage, kept by limits; a guest waits until its owner has made it. */
  async ensureStream(spec: StreamSpec): Promise<void> {
    const isOpen = (): boolean => this.#connection !== undefined;
    if (!this.isGuest) await retryWhileStarting(() => putStream(this.#calls().manager, spec), isOpen);
    else await untilMade(() => this.#calls().info(spec.name), isOpen);
  }

  /** Changes how much a stream may hold; what it holds stays, also when that is more. */
  async setMaxBytes(stream: string, maxBytes: number): Promise<void> {
    await this.#calls().setMaxBytes(stream, maxBytes);
  }

  async streamInfo(stream: string): Promise<StreamInfo> {
    return this.#calls().info(stream);
  }

  /** Messages per subject that match the filter. */
  async streamSubjects(stream: string, filter: string): Promise<Record<string, number>> {
    return this.#calls().subjects(stream, filter);
  }

  /** One stored message; undefined when there is none. */
  async getMessage(
    stream: string,
    query: { readonly sequence: number } | { readonly lastBySubject: string },
  ): Promise<FoundMessage | undefined> {
    return this.#calls().message(stream, query);
  }

  /** Stored messages in order, many for one request. @throws ArrwError UNAVAILABLE */
  async getBatch(stream: string, range: BatchRange): Promise<StoredMessage[]> {
    return this.#calls().batch(stream, range);
  }

  /** Removes messages below a sequence, or all of a subject (wildcards allowed); a guest: of one object. */
  async purge(stream: string, which: Purge): Promise<void> {
    if (this.isGuest) await askToRemove(this, which);
    else await this.#calls().purge(stream, which);
  }

  /** A reader in order; `start` it. */
  tail(options: Omit<TailOptions, "onReconnect">): Tail {
    const onReconnect = (listener: () => void): (() => void) => this.onReconnect(listener);
    return new Tail(this.#open(), this.#calls().manager, this.#options.log, { ...options, onReconnect });
  }

  /** Reads from a sequence to the end as of now. @throws ArrwError UNAVAILABLE when it stalls for `timeoutMs` */
  async readToEnd(
    stream: string,
    fromSequence: number,
    onMessage: (message: StreamMessage) => void,
    timeoutMs: number,
  ): Promise<number> {
    const info = await this.streamInfo(stream);
    const end = info.lastSequence;
    if (info.messages === 0 || end < fromSequence) return end;
    const makeTail: Nats["tail"] = (options) => this.tail(options);
    await readRange(makeTail, { stream, fromSequence, toSequence: end, onMessage, timeoutMs });
    return end;
  }

  /** Reads the messages of one subject, in order; the last one must be stored. @throws as `readToEnd` */
  readSubject(
    stream: string,
    subject: string,
    range: { readonly from: number; readonly to: number },
    onMessage: (message: StoredMessage) => void,
    timeoutMs: number,
  ): Promise<void> {
    const getBatch: Nats["getBatch"] = (...args) => this.getBatch(...args);
    return readSubject(getBatch, { stream, subject, ...range, onMessage, timeoutMs });
  }

  /** A reader in order without a consumer; `start` it. */
  follow(options: FollowOptions): Follow {
    const source = {
      connection: this.#open(),
      log: this.#options.log,
      batch: (stream: string, range: BatchRange) => this.getBatch(stream, range),
      info: (stream: string) => this.streamInfo(stream),
      onReconnect: (listener: () => void) => this.onReconnect(listener),
    };
    return new Follow(source, options);
  }

  /** A bucket whose entries vanish `ttlMs` after their last write. */
  async ttlBucket(name: string, ttlMs: number, replicas: number): Promise<TtlBucket> {
    const open = (): Promise<KV> =>
      this.#open()
        .jetstream({ apiPrefix: this.#apiPrefix })
        .views.kv(name, { ttl: ttlMs, replicas, history: 1 });
    const kv = await retryWhileStarting(open, () => this.#connection !== undefined);
    return ttlBucketOf(kv);
  }

  #open(): NatsConnection {
    if (!this.#connection) throw unavailable("not connected to NATS");
    return this.#connection;
  }

  #calls(): StreamCalls {
    if (!this.#streamCalls) throw unavailable("not connected to NATS");
    return this.#streamCalls;
  }
}
