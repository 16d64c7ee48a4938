import { constants, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { Server } from "@grpc/grpc-js";
import { Overdue } from "./overdue.ts";

/**
 * The HTTP/2 side of a gRPC server. grpc-js leaves it to its clients how long a request may take to come, an answer to
 * be taken, and how often they ping; here all of that is bounded. Keepalive and idle connections are grpc-js's own.
 */

export interface ConnectionLimits {
  /** A connection's first bytes. */
  readonly handshakeMs: number;
  /** The whole request of a call that has one. */
  readonly requestMs: number;
  /** A message to be taken by a client that doesn't read. */
  readonly stallMs: number;
  /** A call to be closed by its client once it has a status. */
  readonly endMs: number;
}

export const CONNECTION_LIMITS: ConnectionLimits = {
  handshakeMs: 10_000,
  requestMs: 30_000,
  stallMs: 300_000,
  endMs: 30_000,
};

/** What grpc-js doesn't tell of a call. */
export interface Arrival {
  readonly stream: ServerHttp2Stream;
  /** The method that was asked for, served or not. */
  readonly path: string;
  /** The client compresses, and takes compressed messages. */
  readonly gzip: boolean;
  readonly pings: Pings;
}

/** A method that is served. */
export interface ServedMethod {
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

/** Calls of methods that aren't served come here. */
export const UNKNOWN_METHOD = "/unknown";

const SWEEP_MS = 1_000;
const TIMEOUT_HEADER = "grpc-timeout";
/** grpc-js counts milliseconds in 32 bits: what is beyond would have passed already. */
const MAX_TIMEOUT_S = 20 * 86_400;
const SECONDS: Readonly<Record<string, number>> = { H: 3_600, M: 60, S: 1, m: 1e-3, u: 1e-6, n: 1e-9 };
/** Pings that a client may send in a row without being sent anything, and one a second more. */
const MAX_PINGS = 100;

class Pings {
  #count = 0;
  #lastMs = 0;

  /** Whether it is one too many. */
  add(nowMs: number): boolean {
    this.#count = Math.max(0, this.#count - (nowMs - this.#lastMs) / 1_000) + 1;
    this.#lastMs = nowMs;
    return this.#count > MAX_PINGS;
  }

  /** Clients measure the connection while messages come: those pings are fine. */
  reset(): void {
    this.#count = 0;
  }
}

/** grpc-js's hook that gets every listener it makes. */
interface Listening {
  _setupHandlers(http2Server: Http2Server, interceptors: unknown): void;
}

export class Connections {
  readonly #methods: ReadonlyMap<string, ServedMethod>;
  readonly #unaryTimeoutMs: number;
  readonly #sockets = new Set<Socket>();
  /** Those that are open, each with its client's address and port. */
  readonly #sessions = new Map<ServerHttp2Session, { readonly pings: Pings; readonly client: string }>();
  readonly #handshakes: Overdue<ServerHttp2Session>;
  readonly #requests: Overdue<ServerHttp2Stream>;
  readonly #writes: Overdue<ServerHttp2Stream>;
  readonly #endings: Overdue<ServerHttp2Stream>;
  readonly #closing: Overdue<Socket>;
  #sweep: NodeJS.Timeout | undefined;
  #arrival: Arrival | undefined;

  /** `methods` by path; `unaryTimeoutMs`: the deadline of unary calls whose client set none. */
  constructor(
    methods: ReadonlyMap<string, ServedMethod>,
    unaryTimeoutMs: number,
    limits: ConnectionLimits = CONNECTION_LIMITS,
  ) {
    this.#methods = methods;
    this.#unaryTimeoutMs = unaryTimeoutMs;
    this.#handshakes = new Overdue(limits.handshakeMs, (session) => session.destroy());
    const cancel = (stream: ServerHttp2Stream): void => stream.close(constants.NGHTTP2_CANCEL);
    this.#requests = new Overdue(limits.requestMs, cancel);
    this.#writes = new Overdue(limits.stallMs, cancel);
    this.#endings = new Overdue(limits.endMs, cancel);
    this.#closing = new Overdue(limits.endMs, (socket) => socket.destroy());
  }

  /** To be called before the server is bound. */
  attach(server: Server): void {
    const listening = server as unknown as Listening;
    const setUp = listening._setupHandlers.bind(server);
    listening._setupHandlers = (http2Server, interceptors) => {
      this.#listen(http2Server);
      setUp(http2Server, interceptors);
    };
    this.#sweep = setInterval(() => this.#sweepAll(performance.now()), SWEEP_MS);
    this.#sweep.unref();
  }

  stop(): void {
    clearInterval(this.#sweep);
  }

  /** Breaks all connections in the midst of their calls. */
  destroy(): void {
    // A session that is closing would wait for its client to close, too.
    for (const socket of this.#sockets) socket.destroy();
  }

  /** The call that grpc-js is making at this moment. */
  get arrival(): Arrival {
    if (!this.#arrival) throw new Error("grpc-js makes a call that has not arrived");
    return this.#arrival;
  }

  /** A message is given to the client, until `written`. */
  writing({ stream, pings }: Arrival): void {
    this.#writes.begin(stream, performance.now());
    pings.reset();
  }

  written({ stream }: Arrival): void {
    this.#writes.done(stream);
  }

  /** The call has its status: should its client neither read on nor end its request, it is closed after a while. */
  ending({ stream, pings }: Arrival): void {
    pings.reset();
    if (stream.readableEnded && stream.writableLength === 0) return;
    this.#endings.begin(stream, performance.now());
  }

  #listen(http2Server: Http2Server): void {
    http2Server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    http2Server.on("session", (session) => this.#onSession(session));
    // Before grpc-js, which then makes the call within the same event.
    http2Server.on("stream", (stream, headers) => this.#onStream(stream, headers));
  }

  #onSession(session: ServerHttp2Session): void {
    const pings = new Pings();
    this.#sessions.set(session, { pings, client: clientOf(session.socket) });
    session.once("close", () => this.#sessions.delete(session));
    this.#handshakes.begin(session, performance.now());
    session.once("remoteSettings", () => this.#handshakes.done(session));
    session.on("ping", () => {
      if (session.destroyed || !pings.add(performance.now())) return;
      session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from("too_many_pings"));
      session.destroy();
    });
  }

  #onStream(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
    const path = String(headers[":path"] ?? "");
    const gzip =
      headers["grpc-encoding"] === "gzip" && /\bgzip\b/.test(String(headers["grpc-accept-encoding"]));
    const session = stream.session;
    const known = session && this.#sessions.get(session as ServerHttp2Session);
    const pings = known?.pings ?? new Pings();
    this.#arrival = { stream, path, gzip, pings };
    const method = this.#methods.get(path);
    if (!method) headers[":path"] = UNKNOWN_METHOD;
    this.#boundTimeout(headers, method);
    if (method?.requestStream) return;
    // A client that never ends its request holds no call for ever; unary ones have a deadline.
    if (method && !method.responseStream) return;
    this.#requests.begin(stream, performance.now());
    stream.once("end", () => this.#requests.done(stream));
  }

  #boundTimeout(headers: Record<string, unknown>, method: ServedMethod | undefined): void {
    const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(String(headers[TIMEOUT_HEADER] ?? "")) ?? [];
    if (digits !== undefined && Number(digits) * (SECONDS[unit] ?? 0) > MAX_TIMEOUT_S) {
      headers[TIMEOUT_HEADER] = `${MAX_TIMEOUT_S}S`;
    } else if (method && !method.requestStream && !method.responseStream) {
      headers[TIMEOUT_HEADER] ??= `${this.#unaryTimeoutMs}m`;
    }
  }

  #sweepAll(nowMs: number): void {
    this.#handshakes.sweep(nowMs);
    this.#requests.sweep(nowMs);
    this.#writes.sweep(nowMs);
    this.#endings.sweep(nowMs);
    this.#endSessions(nowMs);
  }

  /** One that was closed is over when its client closes, too: not all do. */
  #endSessions(nowMs: number): void {
    for (const [session, { client }] of this.#sessions) {
      if (!session.destroyed) continue;
      const socket = [...this.#sockets].find((each) => clientOf(each) === client);
      if (socket && !this.#closing.has(socket)) this.#closing.begin(socket, nowMs);
    }
    this.#closing.sweep(nowMs);
  }
}

function clientOf({ remoteAddress, remotePort }: Pick<Socket, "remoteAddress" | "remotePort">): string {
  return `${remoteAddress}:${remotePort}`;
}
