import type { WebSocket } from "ws";
import { type ArrwError, type ErrorCode, toArrwError, unavailable } from "../../../platform/errors.ts";
import { errorBody, statusOf } from "./errors.ts";
import type { StreamEvent } from "./event-stream.ts";

/**
 * Events through a WebSocket: a text message {"id", "event", "data"} each. Ends with {"event": "end"} and code 1000, or
 * with {"event": "error", "data": <as an answer's body>} and a code by which a program may tell what to do: 1011 an
 * error of the server, 1013 try again later, else 4000 + the HTTP status of the error (4404 = not found).
 */

/** Options of the server: a client has nothing to say here, and compression holds memory for every connection. */
export const SOCKET_OPTIONS = { maxPayload: 4_096, perMessageDeflate: false, autoPong: false } as const;

const ENDED = 1000;
const POLICY_VIOLATION = 1008;
const SERVER_ERROR = 1011;
const TRY_AGAIN_LATER = 1013;
const OWN_CODES = 4_000;
/** Waits here for a slow client; more is not asked of the source before it is gone. */
const WAITING_BYTES = 64 * 1024;
/** Messages and pings of the client in so much time. */
const MAX_MESSAGES = 50;
const MESSAGES_WINDOW_MS = 10_000;
/** Time to answer a close, and to read what was sent before it. */
const CLOSE_MS = 2_000;

export interface EventSocketOptions {
  /** A ping this often; who has neither answered nor taken anything since the one before is gone. */
  readonly pingMs: number;
}

export class EventSocket {
  readonly #socket: WebSocket;
  readonly #abort = new AbortController();
  readonly #timers: NodeJS.Timeout[];
  #alive = true;
  #messages = 0;
  #release: (() => void) | undefined;

  constructor(socket: WebSocket, { pingMs }: EventSocketOptions) {
    this.#socket = socket;
    const forget = setInterval(() => {
      this.#messages = 0;
    }, MESSAGES_WINDOW_MS);
    this.#timers = [setInterval(() => this.#ping(), pingMs), forget];
    for (const timer of this.#timers) timer.unref();
    socket.on("pong", () => {
      this.#alive = true;
    });
    socket.on("message", () => this.#count());
    socket.on("ping", (data) => {
      // Pongs are not gathered for one who doesn't read them.
      if (this.#count() && socket.bufferedAmount < WAITING_BYTES) socket.pong(data);
    });
    socket.on("error", () => socket.terminate());
    socket.on("close", () => {
      for (const timer of this.#timers) clearInterval(timer);
      this.#release?.();
      this.#abort.abort(unavailable("the client closed the connection"));
    });
  }

  /** Aborted when the client is gone. */
  get gone(): AbortSignal {
    return this.#abort.signal;
  }

  /** Sends everything, at the client's pace, and closes. Never rejects. */
  async send(events: () => AsyncIterable<StreamEvent>): Promise<void> {
    try {
      for await (const { id, event, data } of events()) {
        const start = id === undefined ? "{" : `{"id":${JSON.stringify(id)},`;
        await this.#text(`${start}"event":${JSON.stringify(event ?? "open")},"data":${data}}`);
        if (this.gone.aborted) return;
      }
      await this.#text('{"event":"end","data":{}}');
      this.#close(ENDED, "the end");
    } catch (thrown) {
      const error = toArrwError(thrown);
      await this.#text(`{"event":"error","data":${JSON.stringify(errorBody(error))}}`);
      this.#close(closeCode(error), error.reason);
    }
  }

  async #text(text: string): Promise<void> {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    const sent = new Promise<void>((resolve) => {
      this.#release = resolve;
      socket.send(text, () => resolve());
    });
    if (socket.bufferedAmount < WAITING_BYTES) return;
    await sent;
    // Whoever takes what had to wait is there, however long a pong waits behind it.
    this.#alive = true;
  }

  #ping(): void {
    if (!this.#alive) {
      this.#socket.terminate();
      return;
    }
    this.#alive = false;
    this.#socket.ping();
  }

  /** Whether it is still few enough. */
  #count(): boolean {
    this.#messages += 1;
    if (this.#messages > MAX_MESSAGES) this.#close(POLICY_VIOLATION, "too many messages");
    return this.#messages <= MAX_MESSAGES;
  }

  #close(code: number, reason: string): void {
    const socket = this.#socket;
    if (socket.readyState !== socket.OPEN) return;
    // A reason has at most 123 bytes.
    socket.close(code, reason.slice(0, 100));
    this.#timers.push(setTimeout(() => socket.terminate(), CLOSE_MS).unref());
  }
}

const SERVER_CODES = new Set<ErrorCode>(["INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"]);

export function closeCode(error: ArrwError): number {
  if (error.code === "UNAVAILABLE") return TRY_AGAIN_LATER;
  return SERVER_CODES.has(error.code) ? SERVER_ERROR : OWN_CODES + statusOf(error);
}
