import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { ArrwError, unavailable } from "../errors.ts";
import type { Part } from "../lifecycle.ts";
import type { Logger } from "../log.ts";
import { Histogram, type Registry } from "../metrics.ts";
import type { CallRuntime, ImplementedService, MethodShape } from "./calls.ts";
import { type ConnectionLimits, Connections, UNKNOWN_METHOD } from "./connections.ts";
import { toStatus } from "./status.ts";
import { type Admit, wireCalls } from "./wire-calls.ts";

export {
  type CallContext,
  type Handlers,
  type ImplementedService,
  implement,
  type MethodShape,
  type Peer,
} from "./calls.ts";

export interface GrpcServerOptions {
  readonly host: string;
  /** 0 = a free one; see `port` after the start. */
  readonly port: number;
  readonly services: readonly ImplementedService[];
  readonly log: Logger;
  readonly registry: Registry;
  /** Largest message taken; RESOURCE_EXHAUSTED above. */
  readonly maxReceiveBytes: number;
  /** What the client of a larger one may do instead. */
  readonly tooLargeHint?: string;
  /** For calls whose client set no deadline. */
  readonly defaultTimeoutMs: number;
  /** Default: without TLS. */
  readonly tls?: { readonly serverCredentials: ServerCredentials } | undefined;
  /** What every error becomes before it is sent: what its client needs to know is added here. */
  readonly complete?: (error: ArrwError) => ArrwError;
  /**
   * Asked before the message of a call that has one is read: neither unpacked nor decoded for whom it refuses. Handlers of
   * streams of messages ask for themselves before they read. It throws, or gives a promise when it can't say at once.
   */
  readonly admit?: Admit | undefined;
  /** Default: a ping every 20 s, answered within 10 s; a connection without calls is closed after 10 minutes. */
  readonly keepalive?: Keepalive;
  readonly limits?: ConnectionLimits;
}

export interface Keepalive {
  readonly timeMs: number;
  readonly timeoutMs: number;
  readonly idleMs: number;
}

const KEEPALIVE: Keepalive = { timeMs: 20_000, timeoutMs: 10_000, idleMs: 600_000 };
/** Of one connection. */
const MAX_STREAMS = 20_000;

const DRAIN_MS = 2_000;
const MAX_PATH_LENGTH = 200;

export class GrpcServer implements Part {
  readonly name = "grpc server";
  readonly #options: GrpcServerOptions;
  readonly #connections: Connections;
  readonly #running = new Set<AbortController>();
  readonly #server: Server;
  #stopping: ArrwError | undefined;
  #port = 0;
  #stopped: Promise<void> | undefined;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    const { services, defaultTimeoutMs, keepalive = KEEPALIVE } = options;
    const methods = services.flatMap(({ definition }) => Object.values(definition) as MethodShape[]);
    const byPath = new Map(methods.map((method) => [method.path, method] as const));
    this.#connections = new Connections(byPath, defaultTimeoutMs, options.limits);
    const complete = options.complete ?? ((error) => error);
    const runtime = this.#runtime(complete);
    this.#server = new Server({
      "grpc.max_receive_message_length": options.maxReceiveBytes,
      "grpc.max_send_message_length": 64 * 1024 * 1024,
      "grpc.max_concurrent_streams": MAX_STREAMS,
      "grpc.max_connection_idle_ms": keepalive.idleMs,
      "grpc.keepalive_time_ms": keepalive.timeMs,
      "grpc.keepalive_timeout_ms": keepalive.timeoutMs,
      "grpc.keepalive_permit_without_calls": 1,
      // Nobody asks for it, and it keeps a record of every call.
      "grpc.enable_channelz": 0,
      interceptors: [wireCalls(this.#connections, { ...options, ...runtime })],
    });
    this.#connections.attach(this.#server);
    for (const service of services) this.#server.addService(service.definition, service.bind(runtime));
    this.#answerUnknownMethods(complete);
  }

  #runtime(complete: (error: ArrwError) => ArrwError): CallRuntime {
    const { registry, log, defaultTimeoutMs } = this.#options;
    const latency = new Histogram({
      name: "arrw_grpc_server_seconds",
      help: "Duration of gRPC calls served",
      labelNames: ["method", "code"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers: [registry],
    });
    return {
      log,
      running: this.#running,
      stopping: () => this.#stopping,
      defaultTimeoutMs,
      complete,
      observe: (method, code, seconds) => latency.observe({ method, code }, seconds),
    };
  }

  #answerUnknownMethods(complete: (error: ArrwError) => ArrwError): void {
    const answer = (call: ServerDuplexStream<unknown, unknown>): void => {
      const path = this.#connections.arrival.path.slice(0, MAX_PATH_LENGTH);
      const error = new ArrwError("UNIMPLEMENTED", `there is no method ${path}`, {
        reason: "METHOD_NOT_FOUND",
      });
      call.emit("error", toStatus(complete(error)));
    };
    const nothing = (): Buffer => Buffer.alloc(0);
    this.#server.register(UNKNOWN_METHOD, answer, nothing, nothing, "bidi");
  }

  get port(): number {
    return this.#port;
  }

  async start(): Promise<void> {
    const { host, port, tls } = this.#options;
    const credentials = tls?.serverCredentials ?? ServerCredentials.createInsecure();
    this.#port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${host}:${port}`, credentials, (error, bound) => {
        if (!error) return resolve(bound);
        const inUse = /EADDRINUSE|No address added/.test(error.message);
        reject(new Error(inUse ? `gRPC port ${host}:${port} is in use` : error.message));
      });
    });
  }

  /** Ends streams with UNAVAILABLE, gives unary calls 2 s, then closes. */
  stop(): Promise<void> {
    this.#stopped ??= new Promise((resolve) => {
      const force = setTimeout(() => this.#connections.destroy(), DRAIN_MS);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        this.#connections.stop();
        resolve();
      });
      this.#stopping = unavailable("the server is stopping", { retryAfterMs: 500 });
      for (const call of this.#running) call.abort(this.#stopping);
    });
    return this.#stopped;
  }

  /** Stops as a killed process does: every connection breaks in the midst of its calls. */
  crash(): Promise<void> {
    const stopped = this.stop();
    this.#connections.destroy();
    return stopped;
  }
}
