import type { Socket } from "node:net";

/** What a lane may do at this moment. */
export interface LaneState {
  readonly held: boolean;
  readonly delayMs: number;
}

interface Item {
  readonly bytes: Buffer | "end";
  readonly dueMs: number;
}

/** Above this the sender is made to wait, as a full network would. */
const MAX_QUEUED_BYTES = 32 * 1024 * 1024;

/** One direction of a proxied connection: keeps the order, and holds bytes back while told to. */
export class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #state: () => LaneState;
  #queue: Item[] = [];
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, state: () => LaneState, transform: (chunk: Buffer) => Buffer[]) {
    this.#from = from;
    this.#to = to;
    this.#state = state;
    from.on("data", (chunk) => {
      for (const bytes of transform(chunk as Buffer)) this.#push(bytes);
      this.pump();
    });
    from.on("end", () => this.#pushEnd());
    from.on("close", () => this.#pushEnd());
  }

  /** Bytes that wait here. */
  get queuedBytes(): number {
    return this.#bytes;
  }

  /** Adds a message of the test's own, in its turn. */
  inject(bytes: Buffer): void {
    this.#push(bytes);
    this.pump();
  }

  /** Sends what may be sent; called again when that changes. */
  pump(): void {
    clearTimeout(this.#timer);
    if (this.#state().held) return;
    while (this.#queue.length > 0) {
      const [item] = this.#queue;
      if (!item) return;
      const waitMs = item.dueMs - performance.now();
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs));
        return;
      }
      this.#queue.shift();
      if (item.bytes === "end") this.#to.end();
      else this.#write(item.bytes);
    }
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#queue = [];
  }

  #push(bytes: Buffer): void {
    this.#queue.push({ bytes, dueMs: performance.now() + this.#state().delayMs });
    this.#bytes += bytes.length;
    if (this.#bytes > MAX_QUEUED_BYTES) this.#from.pause();
  }

  #pushEnd(): void {
    if (this.#queue.at(-1)?.bytes === "end") return;
    this.#queue.push({ bytes: "end", dueMs: performance.now() + this.#state().delayMs });
    this.pump();
  }

  #write(bytes: Buffer): void {
    this.#bytes -= bytes.length;
    if (this.#from.isPaused() && this.#bytes < MAX_QUEUED_BYTES / 2) this.#from.resume();
    if (this.#to.writable) this.#to.write(bytes);
  }
}
