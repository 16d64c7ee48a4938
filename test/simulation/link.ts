import type { Cancel } from "../../platform/clock.ts";
import { unavailable } from "../../platform/errors.ts";
import type { BusMessage, BusSubscription, StreamInfo } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { AppendError, type AppendOptions } from "../../platform/nats/publisher.ts";
import type { StreamMessage } from "../../platform/nats/tail.ts";
import type { TtlBucket } from "../../platform/nats/ttl-bucket.ts";
import type { Bus, Reader } from "../../services/scheduler/bus.ts";
import type { Host } from "./host.ts";
import { bucketOf } from "./leader-key.ts";
import { Reading } from "./reading.ts";
import type { Server } from "./server.ts";
import type { Stored } from "./stream.ts";

const CALL_TIMEOUT_MS = 5_000;
/** A longer cut breaks the connection: it is made anew. */
const BREAKS_AFTER_MS = 4_000;

/** How unreliable core messages are, and how slow the journal. */
export interface Noise {
  readonly journalMs: number;
  /** Probability that a message is lost. */
  readonly loss: number;
  /** Probability that it comes twice. */
  readonly duplicates: number;
}

interface InFlight {
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: AppendError) => void;
  readonly cancel: Cancel;
}

/** One process's connection to the simulated server. */
export class Link implements Bus {
  readonly host: Host;
  readonly #server: Server;
  readonly #noise: Noise;
  readonly #inFlight = new Set<InFlight>();
  readonly #onReconnect = new Set<() => void>();
  readonly #readings = new Set<Reading>();
  #cut = false;
  #connected = true;
  #cutAtMs = 0;
  #arrivedAtMs = 0;
  #repliedAtMs = 0;

  constructor(host: Host, server: Server, noise: Noise) {
    this.host = host;
    this.#server = server;
    this.#noise = noise;
  }

  get reachable(): boolean {
    return !this.#cut && !this.host.dead;
  }

  /** @param noticed the connection breaks at once; otherwise messages just don't arrive */
  cut(noticed: boolean): void {
    if (this.#cut) return;
    this.#cut = true;
    this.#cutAtMs = this.host.timeline.now;
    if (!noticed) return;
    this.#connected = false;
    this.host.io(() => this.#failAll());
  }

  heal(): void {
    if (!this.#cut) return;
    this.#cut = false;
    const broke = !this.#connected || this.host.timeline.now - this.#cutAtMs > BREAKS_AFTER_MS;
    if (broke) {
      this.host.io(() => {
        this.#failAll();
        this.#connected = true;
        for (const listener of this.#onReconnect) listener();
      });
    }
    for (const reading of this.#readings) reading.wake();
  }

  append(subject: string, data: Uint8Array, options: AppendOptions): Promise<number> {
    if (!this.#connected) return Promise.reject(new AppendError("rejected", 0, "not connected to NATS"));
    return new Promise((resolve, reject) => {
      const cancel = this.host.clock.after(options.timeoutMs, () => {
        this.#inFlight.delete(append);
        reject(new AppendError("unknown", 0, "no acknowledgement in time"));
      });
      const append: InFlight = { resolve, reject, cancel };
      this.#inFlight.add(append);
      // One connection keeps its order, both ways.
      const storingMs = subject === Subject.journal ? this.#noise.journalMs : 0;
      this.#arrivedAtMs = Math.max(this.#arrivedAtMs, this.#later() + storingMs);
      this.host.timeline.at(this.#arrivedAtMs, () => this.#arrive(subject, data, options, append));
    });
  }

  #arrive(subject: string, data: Uint8Array, options: AppendOptions, append: InFlight): void {
    if (this.#cut) return;
    const { name, stream } = this.#server.streamOf(subject);
    const fault = this.#server.takeFault(name);
    if (fault === "lost") return;
    const stored = stream.append(data, options);
    if (fault === "reply lost") return;
    this.#repliedAtMs = Math.max(this.#repliedAtMs, this.#later());
    this.host.timeline.at(this.#repliedAtMs, () => {
      if (!this.#cut) this.host.io(() => this.#acknowledged(append, stored));
    });
  }

  #acknowledged(append: InFlight, stored: Stored): void {
    if (!this.#inFlight.delete(append)) return;
    append.cancel();
    if ("sequence" in stored) append.resolve(stored.sequence);
    else append.reject(new AppendError("rejected", stored.errCode, "wrong last sequence"));
  }

  publish(subject: string, data: Uint8Array): void {
    this.#send(subject, data, () => undefined);
  }

  /** A request whose reply is lost is never answered. */
  request(subject: string, data: Uint8Array, onReply: (reply: Uint8Array) => void): void {
    this.#send(subject, data, (reply) => {
      if (this.#lost()) return;
      this.host.timeline.at(this.#later(), () => {
        if (this.reachable) this.host.io(() => onReply(reply));
      });
    });
  }

  #send(subject: string, data: Uint8Array, onReply: (reply: Uint8Array) => void): void {
    for (const { isReachable, host, deliver } of this.#server.subscribers(subject)) {
      const copies = this.#lost() ? 0 : 1 + Number(this.host.random.chance(this.#noise.duplicates));
      for (let copy = 0; copy < copies; copy++) {
        host.timeline.at(this.#later(), () => {
          if (isReachable()) host.io(() => deliver(data, onReply));
        });
      }
    }
  }

  subscribe(subject: string, handler: (message: BusMessage) => void): BusSubscription {
    let live = true;
    const unsubscribe = this.#server.subscribe(subject, {
      host: this.host,
      isReachable: () => this.reachable,
      deliver: (data, onReply) => {
        const respond = (reply: Uint8Array): boolean => {
          if (!this.#lost()) onReply(reply);
          return true;
        };
        if (live) handler({ subject, data, respond });
      },
    });
    return {
      unsubscribe: () => {
        live = false;
        unsubscribe();
      },
    };
  }

  onReconnect(listener: () => void): () => void {
    this.#onReconnect.add(listener);
    return () => this.#onReconnect.delete(listener);
  }

  unready(): string | undefined {
    return this.#connected ? undefined : "not connected to NATS";
  }

  streamInfo(stream: string): Promise<StreamInfo> {
    return this.#call(() => this.#server.stream(stream).info());
  }

  async streamSubjects(): Promise<Record<string, number>> {
    return {};
  }

  getMessage(
    stream: string,
    query: { readonly sequence: number } | { readonly lastBySubject: string },
  ): Promise<{ sequence: number; data: Uint8Array; timeMs: number } | undefined> {
    return this.#call(() => {
      const sequence = "sequence" in query ? query.sequence : this.#server.stream(stream).last;
      const data = this.#server.stream(stream).get(sequence);
      return data && { sequence, data, timeMs: this.host.clock.now() };
    });
  }

  /** Simulated streams have no limit. */
  async setMaxBytes(): Promise<void> {}

  purge(stream: string, which: { readonly below: number } | { readonly subject: string }): Promise<void> {
    return this.#call(() => {
      if ("below" in which) this.#server.stream(stream).purgeBelow(which.below);
    });
  }

  tail(options: {
    readonly stream: string;
    readonly fromSequence: number;
    readonly onMessage: (message: StreamMessage) => void;
  }): Reader {
    const stream = this.#server.stream(options.stream);
    const reading = new Reading(this, stream, options.fromSequence, options.onMessage);
    return {
      start: async () => {
        await this.#call(() => undefined);
        this.#readings.add(reading);
        reading.start();
      },
      stop: async () => {
        this.#readings.delete(reading);
        reading.stop();
      },
    };
  }

  async readToEnd(
    stream: string,
    fromSequence: number,
    onMessage: (message: StreamMessage) => void,
    timeoutMs: number,
  ): Promise<number> {
    const { lastSequence, messages } = await this.streamInfo(stream);
    if (messages === 0 || lastSequence < fromSequence) return lastSequence;
    let reader: Reader | undefined;
    let cancel = (): void => undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        cancel = this.host.clock.after(timeoutMs, () => reject(unavailable(`reading ${stream} stalled`)));
        const onEach = (message: StreamMessage): void => {
          try {
            if (message.sequence <= lastSequence) onMessage(message);
          } catch (error) {
            reject(error);
          }
          if (message.sequence >= lastSequence) resolve();
        };
        reader = this.tail({ stream, fromSequence, onMessage: onEach });
        reader.start().catch(reject);
      });
    } finally {
      cancel();
      await reader?.stop();
    }
    return lastSequence;
  }

  async ttlBucket(_name: string, ttlMs: number): Promise<TtlBucket> {
    return bucketOf(this.#server, this.host, ttlMs, (atServer) => this.#call(atServer));
  }

  /** A round trip. @throws UNAVAILABLE when it is lost */
  #call<T>(atServer: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.host.clock.after(CALL_TIMEOUT_MS, () => reject(unavailable("no reply in time")));
      this.host.timeline.at(this.#later(), () => {
        if (this.#cut) return;
        let value: T | undefined;
        let error: unknown;
        try {
          value = atServer();
        } catch (thrown) {
          error = thrown;
        }
        this.host.ioAfter(this.host.random.latency(), () => {
          if (this.#cut) return;
          cancel();
          if (error === undefined) resolve(value as T);
          else reject(error);
        });
      });
    });
  }

  #failAll(): void {
    const reason = "the connection to NATS broke before the acknowledgement";
    for (const { cancel, reject } of this.#inFlight) {
      cancel();
      reject(new AppendError("unknown", 0, reason));
    }
    this.#inFlight.clear();
  }

  #lost(): boolean {
    return this.#cut || this.host.random.chance(this.#noise.loss);
  }

  #later(): number {
    return this.host.timeline.now + this.host.random.latency();
  }
}
