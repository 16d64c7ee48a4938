import { createServer, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { TlsOptions } from "node:tls";
import { collectDefaultMetrics, Registry } from "prom-client";
import type { Part } from "./lifecycle.ts";

export { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** A registry of its own per service, with the process's and the event loop's default metrics. */
export function createRegistry(service: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ service });
  collectDefaultMetrics({ register: registry });
  return registry;
}

/** Why a dependency is not ready; undefined = it is. */
export type ReadyCheck = () => string | undefined;

export interface ProbeListenerOptions {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  readonly checks: Readonly<Record<string, ReadyCheck>>;
  /** Default: without TLS. */
  readonly tls?: HttpsSource | undefined;
}

/** Where an HTTP listener has its certificate from. */
export interface HttpsSource {
  readonly httpsOptions: TlsOptions | undefined;
  onRenewal(listener: (options: TlsOptions) => void): () => void;
}

/** A server of HTTP, or of HTTPS where there is a certificate; a renewed one is taken up. */
export function createHttpServer(
  tls: HttpsSource | undefined,
  listener: RequestListener,
  limits: ServerOptions = {},
): Server {
  const options = tls?.httpsOptions;
  if (!tls || !options) return createServer(limits, listener);
  const server = createTlsServer({ ...limits, ...options }, listener);
  const forget = tls.onRenewal((renewed) => server.setSecureContext(renewed));
  server.once("close", forget);
  return server;
}

export interface ProbeAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const TEXT = "text/plain; charset=utf-8";

/** What every service answers to `/healthz`, `/readyz` and `/metrics`; 404 for other paths. */
export async function probeAnswer(
  path: string | undefined,
  { registry, checks }: Pick<ProbeListenerOptions, "registry" | "checks">,
): Promise<ProbeAnswer> {
  switch (path) {
    case "/healthz":
      return { status: 200, type: TEXT, body: "ok\n" };
    case "/readyz": {
      const reasons = Object.entries(checks).flatMap(([name, check]) => {
        const reason = check();
        return reason === undefined ? [] : [`${name}: ${reason}`];
      });
      const body = `${reasons.length === 0 ? "ready" : reasons.join("\n")}\n`;
      return { status: reasons.length === 0 ? 200 : 503, type: TEXT, body };
    }
    case "/metrics":
      return { status: 200, type: registry.contentType, body: await registry.metrics() };
    default:
      return { status: 404, type: TEXT, body: "not found: /metrics, /healthz and /readyz are here\n" };
  }
}

/** HTTP: `/metrics` (Prometheus), `/healthz` (the process answers), `/readyz` (503 with reasons until ready). */
export class ProbeListener implements Part {
  readonly name = "probes";
  readonly #options: ProbeListenerOptions;
  #server: Server | undefined;

  constructor(options: ProbeListenerOptions) {
    this.#options = options;
  }

  /** The bound one, also when 0 was asked for. */
  get port(): number {
    const bound = this.#server?.address();
    return typeof bound === "object" && bound ? bound.port : this.#options.port;
  }

  async start(): Promise<void> {
    const { host, port, registry, checks, tls } = this.#options;
    const server = createHttpServer(tls, (request, response) => {
      probeAnswer(request.url?.split("?")[0], { registry, checks }).then(
        ({ status, type, body }) => response.writeHead(status, { "content-type": type }).end(body),
        (error: unknown) => response.writeHead(500, { "content-type": TEXT }).end(`${String(error)}\n`),
      );
    });
    server.requestTimeout = 10_000;
    server.headersTimeout = 5_000;
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        const inUse = error.code === "EADDRINUSE";
        reject(inUse ? new Error(`HTTP port ${host}:${port} is in use`) : error);
      });
      server.listen(port, host, () => resolve());
    });
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}
