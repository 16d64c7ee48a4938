import { setMaxListeners } from "node:events";
import type { ServerResponse } from "node:http";
import type { TLSSocket } from "node:tls";
import type { FastifyRequest } from "fastify";
import { ArrwError, invalidArgument } from "../../../platform/errors.ts";
import type { CallContext, Peer } from "../../../platform/grpc/server.ts";

/** What handlers know of a call that came over HTTP, and when they are to give it up. */

const TIMEOUT_HEADER = "request-timeout-ms";
const MAX_TIMEOUT_MS = 600_000;

export interface ContextOptions {
  /** A stream: it ends when it has ended, or by the client's own Request-Timeout-Ms. */
  readonly unbounded?: boolean;
}

export class HttpCalls {
  readonly #defaultTimeoutMs: number;
  readonly #stopping = new AbortController();
  readonly #responses = new WeakMap<FastifyRequest, ServerResponse>();
  #open = 0;
  #whenNone: (() => void) | undefined;

  constructor(defaultTimeoutMs: number) {
    this.#defaultTimeoutMs = defaultTimeoutMs;
    // Every running call listens.
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Aborted when the door closes. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Every request of the API, as it comes in. */
  track(request: FastifyRequest, response: ServerResponse): void {
    this.#responses.set(request, response);
    this.#open += 1;
    response.once("close", () => {
      this.#open -= 1;
      if (this.#open === 0) this.#whenNone?.();
    });
  }

  /** Aborts what runs; resolves when all of it has been answered. */
  async close(): Promise<void> {
    this.#stopping.abort();
    if (this.#open > 0) await new Promise<void>((resolve) => (this.#whenNone = resolve));
  }

  /**
   * Its signal is aborted when the client's connection closes before the answer is complete, when the door closes and
   * at the deadline: of the header Request-Timeout-Ms (1..600,000), or now and the default.
   * @throws ArrwError INVALID_ARGUMENT for such a header
   */
  contextOf(request: FastifyRequest, { unbounded = false }: ContextOptions = {}): CallContext {
    const response = this.#responses.get(request);
    if (!response) throw new Error(`${request.url} is no request of the API`);
    const asked = timeoutOf(request);
    const timeoutMs = asked ?? this.#defaultTimeoutMs;
    const abort = new AbortController();
    // A search or a list has many parts that listen.
    setMaxListeners(0, abort.signal);
    const late = (): void =>
      abort.abort(new ArrwError("DEADLINE_EXCEEDED", `no answer within ${timeoutMs} ms`));
    const timer = unbounded && asked === undefined ? undefined : setTimeout(late, timeoutMs);
    timer?.unref();
    const onStopping = (): void =>
      abort.abort(new ArrwError("UNAVAILABLE", "the server is stopping", { retryAfterMs: 500 }));
    if (this.stopping.aborted) onStopping();
    else this.stopping.addEventListener("abort", onStopping, { once: true });
    const onClose = (): void => {
      clearTimeout(timer);
      this.stopping.removeEventListener("abort", onStopping);
      if (!response.writableFinished)
        abort.abort(new ArrwError("CANCELLED", "the client closed the connection"));
    };
    // A client may have gone while its body was unpacked; nothing would tell of that any more.
    if (response.closed) onClose();
    else response.once("close", onClose);
    return {
      ...callerOf(request),
      signal: abort.signal,
      deadlineMs: Date.now() + timeoutMs,
    };
  }
}

/** What says who calls. */
export function callerOf(request: FastifyRequest): Pick<CallContext, "peer" | "header"> {
  return {
    peer: peerOf(request),
    header: (name) => {
      const value = request.headers[name.toLowerCase()];
      return Array.isArray(value) ? value[0] : value;
    },
  };
}

function timeoutOf(request: FastifyRequest): number | undefined {
  const text = request.headers[TIMEOUT_HEADER];
  if (text === undefined) return undefined;
  const value = typeof text === "string" && /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= MAX_TIMEOUT_MS) return value;
  const description = `an integer 1..600,000; got ${JSON.stringify(String(text).slice(0, 80))}`;
  throw invalidArgument([{ field: "Request-Timeout-Ms", description }]);
}

function peerOf({ raw: { socket } }: FastifyRequest): Peer {
  const address = socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, "") ?? "unknown";
  const { authorized, getPeerCertificate } = socket as Partial<TLSSocket>;
  if (authorized !== true || !getPeerCertificate) return { address, certificateSubject: undefined };
  const { subject } = getPeerCertificate.call(socket as TLSSocket);
  return { address, certificateSubject: subject && String(subject.CN ?? JSON.stringify(subject)) };
}
