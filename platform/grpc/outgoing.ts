/** Gives a call's messages to its client no faster than they are taken. */

interface Writable {
  write(bytes: Buffer, onWritten: () => void): boolean;
}

/** Messages that wait for a client, and their bytes, before the next is made. */
const MAX_WAITING = 16;
const MAX_WAITING_BYTES = 1024 * 1024;

export class Outgoing {
  readonly #call: Writable;
  readonly #signal: AbortSignal;
  #waiting = 0;
  #waitingBytes = 0;
  #resume: (() => void) | undefined;

  constructor(call: Writable, signal: AbortSignal) {
    this.#call = call;
    this.#signal = signal;
  }

  /** Whether to wait for `room` before the next. */
  write(bytes: Buffer): boolean {
    this.#waiting += 1;
    this.#waitingBytes += bytes.length;
    this.#call.write(bytes, () => {
      this.#waiting -= 1;
      this.#waitingBytes -= bytes.length;
      if (!this.#full) this.#resume?.();
    });
    return this.#full;
  }

  /** Resolves when there is room, or the signal is aborted. */
  async room(): Promise<void> {
    if (!this.#full || this.#signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
      this.#signal.addEventListener("abort", resolve as () => void, { once: true });
    });
    if (this.#resume) this.#signal.removeEventListener("abort", this.#resume);
    this.#resume = undefined;
  }

  get #full(): boolean {
    return this.#waiting >= MAX_WAITING || this.#waitingBytes >= MAX_WAITING_BYTES;
  }
}
