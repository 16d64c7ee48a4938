import { connect, Events, type JetStreamManager, type KV, type Msg, type NatsConnection } from "nats";
import { ArrwError, unavailable } from "../errors.ts";
import type { Part } from "../lifecycle.ts";
import type { Logger } from "../log.ts";
import { Counter, Gauge, type Registry } from "../metrics.ts";
import { type BatchRange, directBatch, type StoredMessage } from "./direct-batch.ts";
import { type AppendOptions, Publisher } from "./publisher.ts";
import { readRange } from "./read-range.ts";
import { putStream, type StreamSpec } from "./stream-spec.ts";
import { type StreamMessage, Tail, type TailOptions } from "./tail.ts";
import { type TtlBucket, ttlBucketOf } from "./ttl-bucket.ts";

/** The one adapter to NATS: no type of the client library leaves this folder. It reconnects for ever. */

export interface NatsOptions {
  /** "nats://host:port[,nats://host:port]". */
  readonly url: string;
  /** Shown by the server's connection list. */
  readonly name: string;
  readonly log: Logger;
  readonly registry?: Registry;
  /** Ping interval; two missed ones break the connection. Default 2,000. */
  readonly pingIntervalMs?: number;
}

/** A message of core NATS. */
export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Answers a request; false when it was none. */
  respond(data: Uint8Array): boolean;
}

export interface BusSubscription {
  unsubscribe(): void;
}

export interface StreamInfo {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly bytes: number;
  readonly messages: number;
  /** RFC 3339; a stream that was deleted and made again has another. */
  readonly createdAt: string;
}

const MIN_SERVER = [2, 10] as const;
const DIRECT_GET_TIMEOUT_MS = 5_000;

export class Nats implements Part {
  readonly name = "nats";
  readonly #options: NatsOptions;
  readonly #onReconnect = new Set<() => void>();
  #connection: NatsConnection | undefined;
  #jsm: JetStreamManager | undefined;
  #publisher: Publisher | undefined;
  #connected = false;

  constructor(options: NatsOptions) {
    this.#options = options;
  }

  /** Waits for a server as long as it takes. @throws Error when the server is older than 2.10 or lacks JetStream */
  async start(): Promise<void> {
    const { url, name, log, pingIntervalMs } = this.#options;
    log.info({ url: url.replace(/\/\/[^@/\s]+@/g, "//***@") }, "connecting to NATS");
    const connection = await connect({
      servers: url.split(","),
      name,
      maxReconnectAttempts: -1,
      waitOnFirstConnect: true,
      reconnectTimeWait: 200,
      reconnectJitter: 100,
      pingInterval: pingIntervalMs ?? 2_000,
      maxPingOut: 2,
      timeout: 3_000,
      noAsyncTraces: true,
    });
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
    this.#watchStatus(connection);
    this.#jsm = await connection.jetstreamManager({ checkAPI: false, timeout: 5_000 });
    this.#publisher = new Publisher(connection);
    log.info({ server: version }, "connected to NATS");
  }

  async stop(): Promise<void> {
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

  /** The handler must not throw; what it throws is logged. */
  subscribe(subject: string, handler: (message: BusMessage) => void): BusSubscription {
    return this.#open().subscribe(subject, {
      callback: (error, message) => {
        if (error) return;
        try {
          handler(message);
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

  /** Makes the stream where it is missing: file storage, kept by limits. */
  async ensureStream(spec: StreamSpec): Promise<void> {
    await this.#retryWhileStarting(() => putStream(this.#manager(), spec));
  }

  /** Changes how much a stream may hold; what it holds stays, also when that is more. */
  async setMaxBytes(stream: string, maxBytes: number): Promise<void> {
    try {
      await this.#manager().streams.update(stream, { max_bytes: maxBytes });
    } catch (error) {
      throw unavailable(`stream ${stream} can't hold ${maxBytes} bytes: ${String(error)}`, { cause: error });
    }
  }

  async streamInfo(stream: string): Promise<StreamInfo> {
    try {
      const info = await this.#manager().streams.info(stream);
      const { first_seq, last_seq, bytes, messages } = info.state;
      return { firstSequence: first_seq, lastSequence: last_seq, bytes, messages, createdAt: info.created };
    } catch (error) {
      throw unavailable(`stream ${stream} can't be looked at: ${String(error)}`, { cause: error });
    }
  }

  /** Messages per subject that match the filter. */
  async streamSubjects(stream: string, filter: string): Promise<Record<string, number>> {
    try {
      const info = await this.#manager().streams.info(stream, { subjects_filter: filter });
      return info.state.subjects ?? {};
    } catch (error) {
      throw unavailable(`stream ${stream} can't be looked at: ${String(error)}`, { cause: error });
    }
  }

  /** One stored message; undefined when there is none. */
  async getMessage(
    stream: string,
    query: { readonly sequence: number } | { readonly lastBySubject: string },
  ): Promise<{ sequence: number; data: Uint8Array; timeMs: number } | undefined> {
    const request = "sequence" in query ? { seq: query.sequence } : { last_by_subj: query.lastBySubject };
    let reply: Msg;
    try {
      const data = new TextEncoder().encode(JSON.stringify(request));
      reply = await this.#open().request(`$JS.API.DIRECT.GET.${stream}`, data, {
        timeout: DIRECT_GET_TIMEOUT_MS,
      });
    } catch (error) {
      throw unavailable(`a message of ${stream} can't be read: ${String(error)}`, { cause: error });
    }
    const { headers, data } = reply;
    if (headers?.code === 404) return undefined;
    const sequence = Number(headers?.get("Nats-Sequence"));
    if (!(sequence > 0)) throw unavailable(`a message of ${stream} can't be read: ${headers?.description}`);
    return { sequence, data, timeMs: Date.parse(headers?.get("Nats-Time-Stamp") ?? "") };
  }

  /** Stored messages in order, many for one request. @throws ArrwError UNAVAILABLE */
  async getBatch(stream: string, range: BatchRange): Promise<StoredMessage[]> {
    return directBatch(this.#open(), stream, range, DIRECT_GET_TIMEOUT_MS);
  }

  /** Removes messages below a sequence, or all of a subject (wildcards allowed). */
  async purge(
    stream: string,
    which: { readonly below: number } | { readonly subject: string },
  ): Promise<void> {
    const request = "below" in which ? { seq: which.below } : { filter: which.subject };
    try {
      await this.#manager().streams.purge(stream, request);
    } catch (error) {
      throw unavailable(`stream ${stream} can't be purged: ${String(error)}`, { cause: error });
    }
  }

  /** A reader in order; `start` it. */
  tail(options: Omit<TailOptions, "onReconnect">): Tail {
    const onReconnect = (listener: () => void): (() => void) => this.onReconnect(listener);
    return new Tail(this.#open(), this.#manager(), this.#options.log, { ...options, onReconnect });
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
    onMessage: (message: StreamMessage) => void,
    timeoutMs: number,
  ): Promise<void> {
    const makeTail: Nats["tail"] = (options) => this.tail(options);
    const { from: fromSequence, to: toSequence } = range;
    const filterSubject = subject;
    return readRange(makeTail, { stream, fromSequence, toSequence, filterSubject, onMessage, timeoutMs });
  }

  /** A bucket whose entries vanish `ttlMs` after their last write. */
  async ttlBucket(name: string, ttlMs: number, replicas: number): Promise<TtlBucket> {
    const open = (): Promise<KV> =>
      this.#open().jetstream().views.kv(name, { ttl: ttlMs, replicas, history: 1 });
    const kv = await this.#retryWhileStarting(open);
    return ttlBucketOf(kv);
  }

  #open(): NatsConnection {
    if (!this.#connection) throw unavailable("not connected to NATS");
    return this.#connection;
  }

  #manager(): JetStreamManager {
    if (!this.#jsm) throw unavailable("not connected to NATS");
    return this.#jsm;
  }

  /** A server that has just started answers before JetStream has recovered: wait for it. */
  async #retryWhileStarting<T>(run: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await run();
      } catch (error) {
        const final = error instanceof ArrwError && error.code === "RESOURCE_EXHAUSTED";
        if (attempt >= 20 || final || !this.#connection) throw error;
        await timeout(250);
      }
    }
  }

  #watchStatus(connection: NatsConnection): void {
    const { log, registry } = this.#options;
    const registers = registry ? [registry] : [];
    const gauge = new Gauge({ name: "arrw_nats_connected", help: "1 = connected to NATS", registers });
    const reconnects = new Counter({
      name: "arrw_nats_reconnects_total",
      help: "Reconnects to NATS",
      registers,
    });
    gauge.set(1);
    void (async () => {
      for await (const status of connection.status()) {
        if (status.type === Events.Disconnect) {
          this.#connected = false;
          this.#publisher?.disconnected();
          gauge.set(0);
          log.warn("connection to NATS lost");
        } else if (status.type === Events.Reconnect) {
          this.#connected = true;
          this.#publisher?.reconnected();
          gauge.set(1);
          reconnects.inc();
          log.info("connected to NATS again");
          for (const listener of this.#onReconnect) listener();
        }
      }
    })();
  }
}

/** Waits for a promise, but not longer; how it ends does not matter. */
async function atMost(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise.catch(() => undefined), over]);
  clearTimeout(timer);
}

function timeout(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
