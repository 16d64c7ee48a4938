import { setMaxListeners } from "node:events";
import { Server, ServerCredentials, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { ArrwError } from "../errors.ts";
import type { Part } from "../lifecycle.ts";
import type { Logger } from "../log.ts";
import { Histogram, type Registry } from "../metrics.ts";
import type { CallRuntime, ImplementedService } from "./calls.ts";
import { toStatus } from "./status.ts";

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
}

const DRAIN_MS = 2_000;

/**
 * grpc-js answers some mistakes of clients by itself, with INTERNAL or a text that helps nobody. It does so past all
 * interceptors, on the innermost call: hence the replaced method. Bytes above the limit are never gathered.
 */
function nameClientMistakes(options: GrpcServerOptions): ServerInterceptor {
  const { maxReceiveBytes, tooLargeHint } = options;
  const tooLarge = new ArrwError(
    "RESOURCE_EXHAUSTED",
    `the message is larger than ${maxReceiveBytes} bytes${tooLargeHint ? `: ${tooLargeHint}` : ""}`,
    { reason: "MESSAGE_TOO_LARGE", metadata: { max_bytes: String(maxReceiveBytes) } },
  );
  return (_method, call) => {
    const send = call.sendStatus.bind(call);
    call.sendStatus = (status) => {
      const text = status.metadata ? "" : status.details;
      if (/^Received message (larger than max|that decompresses)/.test(text)) send(toStatus(tooLarge));
      else if (/^(Error deserializing request|Failed to decompress|Invalid grpc-timeout)/.test(text)) {
        send(toStatus(new ArrwError("INVALID_ARGUMENT", `the message can't be read: ${text}`)));
      } else send(status);
    };
    return new ServerInterceptingCall(call);
  };
}

export class GrpcServer implements Part {
  readonly name = "grpc server";
  readonly #options: GrpcServerOptions;
  readonly #stopping = new AbortController();
  readonly #server: Server;
  #port = 0;
  #stopped: Promise<void> | undefined;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    // Every running call listens.
    setMaxListeners(0, this.#stopping.signal);
    const { registry, log, defaultTimeoutMs } = options;
    this.#server = new Server({
      "grpc.max_receive_message_length": options.maxReceiveBytes,
      "grpc.max_send_message_length": 64 * 1024 * 1024,
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.keepalive_permit_without_calls": 1,
      interceptors: [nameClientMistakes(options)],
    });
    const latency = new Histogram({
      name: "arrw_grpc_server_seconds",
      help: "Duration of gRPC calls served",
      labelNames: ["method", "code"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers: [registry],
    });
    const runtime: CallRuntime = {
      log,
      stopping: this.#stopping.signal,
      defaultTimeoutMs,
      observe: (method, code, seconds) => latency.observe({ method, code }, seconds),
    };
    for (const service of options.services)
      this.#server.addService(service.definition, service.bind(runtime));
  }

  /** The grpc-js server, for services that come from a library (reflection, health). */
  get raw(): Server {
    return this.#server;
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
      const force = setTimeout(() => this.#server.forceShutdown(), DRAIN_MS);
      this.#server.tryShutdown(() => {
        clearTimeout(force);
        resolve();
      });
      this.#stopping.abort();
    });
    return this.#stopped;
  }
}
