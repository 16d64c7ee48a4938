import { createServer, type RequestListener, type Server } from "node:http";
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
export function createHttpServer(tls: HttpsSource | undefined, listener: RequestListener): Server {
  const options = tls?.httpsOptions;
  if (!tls || !options) return createServer(listener);
  const server = createTlsServer(options, listener);
  const forget = tls.onRenewal((renewed) => server.setSecureContext(renewed));
  server.once("close", forget);
  return server;
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
      const path = request.url?.split("?")[0];
      const text = (status: number, body: string, type = "text/plain; charset=utf-8"): void => {
        response.writeHead(status, { "content-type": type }).end(body);
      };
      if (path === "/healthz") return text(200, "ok\n");
      if (path === "/readyz") {
        const reasons = Object.entries(checks).flatMap(([name, check]) => {
          const reason = check();
          return reason === undefined ? [] : [`${name}: ${reason}`];
        });
        return text(
          reasons.length === 0 ? 200 : 503,
          `${reasons.length === 0 ? "ready" : reasons.join("\n")}\n`,
        );
      }
      if (path !== "/metrics") return text(404, "not found: /metrics, /healthz and /readyz are here\n");
      registry.metrics().then(
        (body) => text(200, body, registry.contentType),
        (error: unknown) => text(500, `${String(error)}\n`),
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
