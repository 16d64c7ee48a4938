import type { JetStreamManager, Msg, NatsConnection } from "nats";
import { ArrwError, unavailable } from "../errors.ts";
import { type BatchRange, directBatch, type StoredMessage, storedMessage } from "./direct-batch.ts";

/** Requests to JetStream about its streams. All throw ArrwError UNAVAILABLE when it doesn't answer. */

export interface StreamInfo {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly bytes: number;
  readonly messages: number;
  /** RFC 3339; a stream that was deleted and made again has another. */
  readonly createdAt: string;
}

export interface FoundMessage {
  readonly sequence: number;
  readonly data: Uint8Array;
  readonly timeMs: number;
}

/** What is purged: messages below a sequence, or all of a subject (wildcards allowed). */
export type Purge = { readonly below: number } | { readonly subject: string };

const DIRECT_GET_TIMEOUT_MS = 5_000;

export class StreamCalls {
  readonly manager: JetStreamManager;
  readonly #connection: NatsConnection;
  readonly #apiPrefix: string;

  constructor(connection: NatsConnection, manager: JetStreamManager, apiPrefix: string) {
    this.#connection = connection;
    this.manager = manager;
    this.#apiPrefix = apiPrefix;
  }

  async setMaxBytes(stream: string, maxBytes: number): Promise<void> {
    try {
      await this.manager.streams.update(stream, { max_bytes: maxBytes });
    } catch (error) {
      throw unavailable(`stream ${stream} can't hold ${maxBytes} bytes: ${String(error)}`, { cause: error });
    }
  }

  async info(stream: string): Promise<StreamInfo> {
    try {
      const info = await this.manager.streams.info(stream);
      const { first_seq, last_seq, bytes, messages } = info.state;
      return { firstSequence: first_seq, lastSequence: last_seq, bytes, messages, createdAt: info.created };
    } catch (error) {
      throw unavailable(`stream ${stream} can't be looked at: ${String(error)}`, { cause: error });
    }
  }

  async subjects(stream: string, filter: string): Promise<Record<string, number>> {
    try {
      const info = await this.manager.streams.info(stream, { subjects_filter: filter });
      return info.state.subjects ?? {};
    } catch (error) {
      throw unavailable(`stream ${stream} can't be looked at: ${String(error)}`, { cause: error });
    }
  }

  async message(
    stream: string,
    query: { readonly sequence: number } | { readonly lastBySubject: string },
  ): Promise<FoundMessage | undefined> {
    const request = "sequence" in query ? { seq: query.sequence } : { last_by_subj: query.lastBySubject };
    let reply: Msg;
    try {
      const data = new TextEncoder().encode(JSON.stringify(request));
      reply = await this.#connection.request(`${this.#apiPrefix}.DIRECT.GET.${stream}`, data, {
        timeout: DIRECT_GET_TIMEOUT_MS,
      });
    } catch (error) {
      throw unavailable(`a message of ${stream} can't be read: ${String(error)}`, { cause: error });
    }
    const { headers } = reply;
    if (headers?.code === 404) return undefined;
    const message = storedMessage(reply);
    if (!message) throw unavailable(`a message of ${stream} can't be read: ${headers?.description}`);
    const { sequence, data } = message;
    return { sequence, data, timeMs: Date.parse(headers?.last("Nats-Time-Stamp") ?? "") };
  }

  batch(stream: string, range: BatchRange): Promise<StoredMessage[]> {
    const subject = `${this.#apiPrefix}.DIRECT.GET.${stream}`;
    return directBatch(this.#connection, subject, range, DIRECT_GET_TIMEOUT_MS);
  }

  async purge(stream: string, which: Purge): Promise<void> {
    const request = "below" in which ? { seq: which.below } : { filter: which.subject };
    try {
      await this.manager.streams.purge(stream, request);
    } catch (error) {
      throw unavailable(`stream ${stream} can't be purged: ${String(error)}`, { cause: error });
    }
  }
}

/** A server that has just started answers before JetStream has recovered: wait for it. */
export async function retryWhileStarting<T>(run: () => Promise<T>, isOpen: () => boolean): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      const final = error instanceof ArrwError && error.code === "RESOURCE_EXHAUSTED";
      if (attempt >= 20 || final || !isOpen()) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

/** Waits as long as it takes until somebody else has made a stream. */
export async function untilMade(look: () => Promise<unknown>, isOpen: () => boolean): Promise<void> {
  for (;;) {
    try {
      await look();
      return;
    } catch (error) {
      if (!isOpen()) throw error;
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}
