import type { RequestListener, Server } from "node:http";
import fastify, { type FastifyInstance, type FastifyRequest } from "fastify";
import { ArrwError } from "../../../platform/errors.ts";
import type { CallContext } from "../../../platform/grpc/server.ts";
import { once, type Part, part } from "../../../platform/lifecycle.ts";
import type { Logger } from "../../../platform/log.ts";
import {
  createHttpServer,
  Histogram,
  type HttpsSource,
  probeAnswer,
  type ReadyCheck,
  type Registry,
} from "../../../platform/metrics.ts";
import type { Api } from "../api.ts";
import { acceptBodies, bringsBody, discardBody, readsBody } from "./bodies.ts";
import { type ContextOptions, callerOf, HttpCalls } from "./calls.ts";
import { JsonCodec } from "./codec.ts";
import { docsRoutes } from "./docs-page.ts";
import { errorBody, fromThrown, MAX_BODY_BYTES, sendError } from "./errors.ts";
import { guardOrigins } from "./origin.ts";
import { addUnaryRoutes } from "./routes.ts";
import { boundSending, streamOptions } from "./send-timeout.ts";
import { streamRoutes } from "./streams.ts";
import { nameUnknownRoutes } from "./unknown-routes.ts";
import { UpgradableRequest } from "./upgrade.ts";

/** What routes answer with. */
export interface HttpDoor {
  readonly api: Api;
  readonly codec: JsonCodec;
  readonly log: Logger;
  readonly registry: Registry;
  /** Aborted when the door closes; every context's signal is then, too. */
  readonly stopping: AbortSignal;
  /** See HttpCalls.contextOf. */
  contextOf(request: FastifyRequest, options?: ContextOptions): CallContext;
}

export interface HttpListenerOptions {
  readonly host: string;
  /** 0 = a free one; see `port` after the start. */
  readonly port: number;
  readonly api: Api;
  readonly log: Logger;
  readonly registry: Registry;
  readonly checks: Readonly<Record<string, ReadyCheck>>;
  /** For calls whose client set none. */
  readonly defaultTimeoutMs: number;
  /** Of streams whose client neither reads nor sends. */
  readonly idleTimeoutMs: number;
  /** As in ARRW_HTTP_CORS_ORIGINS. */
  readonly origins: string;
  /** Only this machine connects, without credentials. */
  readonly localOnly: boolean;
  /** Rejects for those without valid credentials: their bodies are not read. `rpc` is what they call, "" = nothing known. */
  readonly authenticate?: (caller: Pick<CallContext, "peer" | "header">, rpc: string) => Promise<unknown>;
  /** Rejects for those who may not see /metrics; without it everybody may. */
  readonly mayReadMetrics?: (context: CallContext) => Promise<void>;
  /** Default: without TLS. */
  readonly tls?: HttpsSource | undefined;
}

/** Marks what answers before the door is open and while it closes. */
const PROBE = { probe: true } as const;
const DRAIN_MS = 2_000;
const SOCKET_LIMITS = {
  maxHeaderSize: 16 * 1024,
  /** Headers byte by byte end here; bodies have bounds of their own, as some are streams of any length. */
  headersTimeout: 10_000,
  requestTimeout: 0,
  connectionsCheckingInterval: 2_000,
  keepAliveTimeout: 20_000,
  noDelay: true,
  IncomingMessage: UpgradableRequest,
} as const;
const MAX_CONNECTIONS = 20_000;
const MAX_REQUESTS_PER_SOCKET = 100_000;

/**
 * The public API over HTTP, and the gateway's /metrics, /healthz and /readyz. It listens from the start, as probes ask
 * then; the API answers once `door` has started, and until that stops: with UNAVAILABLE before and after.
 */
export class HttpListener implements Part {
  readonly name = "http";
  /** The API's part: starts when all that answers is there. */
  readonly door: Part;
  readonly #options: HttpListenerOptions;
  readonly #calls: HttpCalls;
  readonly #server: Server;
  readonly #app: FastifyInstance;
  #isOpen = false;

  constructor(options: HttpListenerOptions) {
    this.#options = options;
    this.#calls = new HttpCalls(options.defaultTimeoutMs);
    this.#app = fastify({
      logger: false,
      bodyLimit: MAX_BODY_BYTES,
      keepAliveTimeout: SOCKET_LIMITS.keepAliveTimeout,
      routerOptions: {
        ignoreTrailingSlash: true,
        // A document's id has at most 512 bytes, each of them percent-encoded in three.
        maxParamLength: 2_048,
      },
      frameworkErrors: (error, _request, reply) => sendError(reply, error),
      clientErrorHandler: answerBrokenRequest,
      serverFactory: (handler) => this.#createServer(handler as RequestListener),
    });
    this.#server = this.#app.server;
    this.door = part(
      "http door",
      async () => {
        this.#isOpen = true;
      },
      once(() => this.#drain()),
    );
  }

  /** The bound one, also when 0 was asked for. */
  get port(): number {
    const bound = this.#server.address();
    return typeof bound === "object" && bound ? bound.port : this.#options.port;
  }

  async start(): Promise<void> {
    const { host, port } = this.#options;
    this.#observe();
    acceptBodies(this.#app);
    nameUnknownRoutes(this.#app);
    this.#app.setErrorHandler(async (thrown, request, reply) => {
      const error = fromThrown(thrown);
      if (error.code === "INTERNAL")
        this.#options.log.error(
          { err: error.cause ?? error, method: request.method, route: routeOf(request) },
          "call failed",
        );
      if (!readsBody(request)) await discardBody(request);
      return sendError(reply, error);
    });
    this.#probes();
    await this.#register(this.#door());
    await this.#app.listen({ host, port }).catch((error: NodeJS.ErrnoException) => {
      throw error.code === "EADDRINUSE" ? new Error(`HTTP port ${host}:${port} is in use`) : error;
    });
  }

  readonly stop = once(async () => {
    await this.door.stop();
    const closed = this.#app.close();
    this.#server.closeAllConnections();
    await closed;
  });

  /** Every group of routes. */
  async #register(door: HttpDoor): Promise<void> {
    await guardOrigins(this.#app, this.#options);
    // A body of a few KB unpacks to MBs of JSON: nobody has that looked at before they have said who they are.
    const { authenticate } = this.#options;
    this.#app.addHook("onRequest", async (request) => {
      if (authenticate && bringsBody(request) && !isProbe(request))
        await authenticate(
          callerOf(request),
          (request.routeOptions.config as { readonly rpc?: string }).rpc ?? "",
        );
    });
    await streamRoutes(this.#app, door, streamOptions(this.#options.idleTimeoutMs));
    addUnaryRoutes(this.#app, door);
    docsRoutes(this.#app, door.codec);
  }

  #door(): HttpDoor {
    const { api, log, registry } = this.#options;
    const calls = this.#calls;
    return {
      api,
      codec: new JsonCodec(),
      log,
      registry,
      stopping: calls.stopping,
      contextOf: (request, options) => calls.contextOf(request, options),
    };
  }

  #createServer(handler: RequestListener): Server {
    const server = createHttpServer(this.#options.tls, handler, SOCKET_LIMITS);
    server.maxConnections = MAX_CONNECTIONS;
    server.maxRequestsPerSocket = MAX_REQUESTS_PER_SOCKET;
    return server;
  }

  #observe(): void {
    const { idleTimeoutMs } = this.#options;
    const seconds = new Histogram({
      name: "arrw_http_server_seconds",
      help: "Duration of HTTP requests served",
      labelNames: ["route", "method", "status"],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
      registers: [this.#options.registry],
    });
    this.#app.addHook("onRequest", async (request, reply) => {
      if (isProbe(request)) return;
      this.#calls.track(request, reply.raw);
      const when = this.#calls.stopping.aborted ? "is stopping" : "has not started yet";
      if (!this.#isOpen) throw new ArrwError("UNAVAILABLE", `the server ${when}`, { retryAfterMs: 500 });
    });
    this.#app.addHook("onSend", async (request) => boundSending(request, streamOptions(idleTimeoutMs)));
    this.#app.addHook("onResponse", async (request, reply) => {
      if (isProbe(request)) return;
      const labels = { route: routeOf(request), method: request.method, status: String(reply.statusCode) };
      seconds.observe(labels, reply.elapsedTime / 1_000);
    });
  }

  #probes(): void {
    const { registry, checks, mayReadMetrics } = this.#options;
    for (const path of ["/healthz", "/readyz", "/metrics"]) {
      this.#app.get(path, { config: PROBE }, async (request, reply) => {
        if (path === "/metrics" && mayReadMetrics) {
          this.#calls.track(request, reply.raw);
          await mayReadMetrics(this.#calls.contextOf(request));
        }
        const answer = await probeAnswer(path, { registry, checks });
        return reply.code(answer.status).type(answer.type).send(answer.body);
      });
    }
  }

  async #drain(): Promise<void> {
    this.#isOpen = false;
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, DRAIN_MS);
    });
    await Promise.race([this.#calls.close(), timeUp]);
    clearTimeout(timer);
  }
}

function isProbe({ routeOptions }: FastifyRequest): boolean {
  return (routeOptions.config as Partial<typeof PROBE>).probe === true;
}

/** The pattern: paths would be without bound as a metric's label. */
function routeOf({ routeOptions, is404 }: FastifyRequest): string {
  return is404 ? "unknown" : (routeOptions.url ?? "unknown");
}

const BROKEN: Readonly<Record<string, ArrwError>> = {
  HPE_HEADER_OVERFLOW: new ArrwError("INVALID_ARGUMENT", "the headers are larger than 16,384 bytes", {
    reason: "HEADERS_TOO_LARGE",
  }),
  ERR_HTTP_REQUEST_TIMEOUT: new ArrwError("DEADLINE_EXCEEDED", "the request did not arrive in time", {
    reason: "REQUEST_TIMEOUT",
  }),
};
const STATUS_LINES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

interface BrokenSocket {
  readonly writable: boolean;
  /** Node's own: the answer under way. */
  readonly _httpMessage?: { readonly headersSent: boolean } | null;
  end(text: string): unknown;
  destroy(): unknown;
}

/** What never became a request. */
function answerBrokenRequest({ code }: { readonly code: string }, socket: BrokenSocket): void {
  // What is said now would be read as a part of the answer that has begun.
  const answering = socket._httpMessage?.headersSent ?? false;
  if (code === "ECONNRESET" || !socket.writable || answering) return void socket.destroy();
  const error = BROKEN[code] ?? new ArrwError("INVALID_ARGUMENT", "the request is not HTTP");
  const body = JSON.stringify(errorBody(error));
  const head = [
    `HTTP/1.1 ${STATUS_LINES[code] ?? "400 Bad Request"}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    "cache-control: no-store",
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
