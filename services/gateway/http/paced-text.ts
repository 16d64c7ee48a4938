import { Readable } from "node:stream";

export interface PacedTextOptions {
  /** Sent at once, so that the client knows that it is connected; "" = the headers alone. */
  readonly opening: string;
  /** Sent when nothing else was for `everyMs`: it shows both ends that the other is there. */
  readonly heartbeat?: { readonly text: string; readonly everyMs: number };
  /** When the body is asked for first. */
  readonly onOpen?: () => void;
}

/** Bytes that wait here for a slow client; more is not asked of the source before they are gone. */
const WAITING_BYTES = 16 * 1024;

/** The body of a response whose text comes as things happen, at the client's pace. */
export class PacedText extends Readable {
  readonly #source: AsyncIterator<string>;
  readonly #options: PacedTextOptions;
  #opened = false;
  #pulling = false;
  #sentAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(source: AsyncIterator<string>, options: PacedTextOptions) {
    super({ highWaterMark: WAITING_BYTES });
    this.#source = source;
    this.#options = options;
  }

  override _read(): void {
    if (!this.#opened) this.#open();
    if (this.#pulling) return;
    this.#pulling = true;
    this.#pull().catch((error: unknown) => this.destroy(error instanceof Error ? error : undefined));
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearInterval(this.#timer);
    // The client may be gone before anything was asked for. A generator that has not begun would end without ending what
    // it reads from, so it is begun first.
    if (!this.#opened) this.#source.next().catch(() => undefined);
    const ended = this.#source.return?.();
    // A source that waits for something ends when its call is aborted, which may come after this.
    ended?.catch(() => undefined);
    done(error);
  }

  #open(): void {
    const { opening, heartbeat, onOpen } = this.#options;
    this.#opened = true;
    if (opening !== "") this.#send(opening);
    if (heartbeat) {
      this.#timer = setInterval(() => {
        // What waits here shows that the client does not read: it is not given more to read.
        const quiet = this.readableLength === 0 && performance.now() - this.#sentAt > heartbeat.everyMs / 2;
        if (quiet && !this.readableEnded) this.#send(heartbeat.text);
      }, heartbeat.everyMs);
      this.#timer.unref();
    }
    onOpen?.();
  }

  async #pull(): Promise<void> {
    for (;;) {
      const { done, value } = await this.#source.next();
      if (this.destroyed) return;
      if (done) {
        clearInterval(this.#timer);
        this.push(null);
        return;
      }
      if (this.#send(value)) continue;
      this.#pulling = false;
      // It may have been asked to go on while this was still under way.
      if (this.readableLength === 0) this._read();
      return;
    }
  }

  #send(text: string): boolean {
    this.#sentAt = performance.now();
    return this.push(text, "utf8");
  }
}
