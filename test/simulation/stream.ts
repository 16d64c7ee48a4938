import type { StreamInfo } from "../../platform/nats/connection.ts";
import type { AppendOptions } from "../../platform/nats/publisher.ts";

/** JetStream's error codes for an expected last sequence and an expected last message that are wrong. */
const WRONG_LAST_SEQUENCE = 10_071;
const WRONG_LAST_MESSAGE = 10_070;

export type Expected = Pick<AppendOptions, "expectedLastSequence" | "messageId" | "expectedLastMessageId">;

export type Stored = { readonly sequence: number } | { readonly errCode: number };

/** A JetStream stream, as the server has it. */
export class Stream {
  readonly subject: string;
  readonly #messages: Uint8Array[] = [];
  readonly #listeners = new Set<() => void>();
  /** Sees every message at the moment it is stored. */
  readonly #onStored: (sequence: number, data: Uint8Array) => void;
  readonly #ignoreExpected: boolean;
  readonly #ids = new Map<string, number>();
  #lastId = "";
  #first = 0;
  #bytes = 0;

  constructor(
    subject: string,
    onStored: (sequence: number, data: Uint8Array) => void,
    ignoreExpected: boolean,
  ) {
    this.subject = subject;
    this.#onStored = onStored;
    this.#ignoreExpected = ignoreExpected;
  }

  get first(): number {
    return this.#first;
  }

  get last(): number {
    return this.#messages.length;
  }

  append(data: Uint8Array, expected: Expected): Stored {
    const { expectedLastSequence, messageId = "", expectedLastMessageId } = expected;
    const known = this.#ids.get(messageId);
    if (known !== undefined) return { sequence: known };
    const isWrong = expectedLastSequence !== undefined && expectedLastSequence !== this.last;
    if (isWrong && !this.#ignoreExpected) {
      return { errCode: WRONG_LAST_SEQUENCE };
    }
    const isOther = expectedLastMessageId !== undefined && expectedLastMessageId !== this.#lastId;
    if (isOther && !this.#ignoreExpected) return { errCode: WRONG_LAST_MESSAGE };
    this.#messages.push(data);
    this.#lastId = messageId;
    if (messageId !== "") this.#ids.set(messageId, this.last);
    if (this.#first === 0) this.#first = 1;
    this.#bytes += data.length;
    this.#onStored(this.last, data);
    for (const listener of this.#listeners) listener();
    return { sequence: this.last };
  }

  get(sequence: number): Uint8Array | undefined {
    return sequence < this.#first ? undefined : this.#messages[sequence - 1];
  }

  purgeBelow(sequence: number): void {
    const first = Math.max(this.#first, Math.min(sequence, this.last + 1));
    for (let n = Math.max(1, this.#first); n < first; n++) this.#bytes -= this.#messages[n - 1]?.length ?? 0;
    this.#first = first;
  }

  info(): StreamInfo {
    return {
      firstSequence: this.#first,
      lastSequence: this.last,
      bytes: this.#bytes,
      messages: this.#first === 0 ? 0 : this.last - this.#first + 1,
      createdAt: "2026-01-01T00:00:00Z",
    };
  }

  onAppended(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
