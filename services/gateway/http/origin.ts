import { isIP } from "node:net";
import cors from "@fastify/cors";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { ArrwError } from "../../../platform/errors.ts";

/**
 * What keeps web pages of others from using the API through their visitor's browser.
 *
 * A browser lets any page send requests anywhere; it only hides the answers, unless CORS allows them. So a page could
 * delete jobs on a developer's own machine, or on a network that only the visitor can reach. Every request that
 * a page may not make has the page's origin in a header that the page can't change: one that changes something, or
 * opens a WebSocket (whose answers no browser hides), is refused when that is neither this server nor allowed.
 *
 * A page can also give its own name this server's address (DNS rebinding): then the browser takes the two for the same,
 * and reads answers too. What it can't change is that the Host header has the name. Where only this machine can
 * connect and nobody has to prove who they are, the address is all the protection there is: there Host must be an
 * address or localhost. Elsewhere names are what they are for, and credentials protect.
 */

export interface OriginOptions {
  /** As in ARRW_HTTP_CORS_ORIGINS. */
  readonly origins: string;
  /** Only this machine connects, without credentials. */
  readonly localOnly: boolean;
}

const CHANGING = new Set(["POST", "PUT", "PATCH", "DELETE"]);
const SHOWN_HEADERS = [
  "accept-ranges",
  "content-disposition",
  "content-range",
  "etag",
  "location",
  "retry-after",
  "www-authenticate",
];
const PREFLIGHT_SECONDS = 600;

/** CORS for the origins that are allowed; everybody else's pages are refused. Before anything else looks at a request. */
export async function guardOrigins(app: FastifyInstance, options: OriginOptions): Promise<void> {
  const allowed = allowedOrigins(options.origins);
  const anyone = allowed.includes("*");
  app.addHook("onRequest", async (request) => {
    const { host, origin } = request.headers;
    if (options.localOnly && host !== undefined && !isLocalName(host)) throw hostRefused(host);
    if (anyone || origin === undefined || !changes(request)) return;
    if (!isOwnOrigin(origin, host) && !allowed.includes(normalized(origin))) throw originRefused(origin);
  });
  if (allowed.length === 0) return;
  await app.register(cors, {
    origin: anyone ? "*" : [...allowed],
    methods: ["GET", "HEAD", "POST", "PUT", "DELETE"],
    exposedHeaders: SHOWN_HEADERS,
    maxAge: PREFLIGHT_SECONDS,
    // A plain OPTIONS is no preflight and asks for nothing of CORS.
    strictPreflight: false,
    hideOptionsRoute: true,
  });
}

function changes(request: FastifyRequest): boolean {
  return CHANGING.has(request.method) || request.headers.upgrade !== undefined;
}

/** @throws Error when one of them is no origin */
export function allowedOrigins(setting: string): readonly string[] {
  const origins = setting
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "");
  for (const origin of origins) {
    if (origin === "*" || (URL.canParse(origin) && normalized(origin) === origin.toLowerCase())) continue;
    throw new Error(
      `ARRW_HTTP_CORS_ORIGINS: expected origins like https://app.example.com, or *; got ${JSON.stringify(origin)}`,
    );
  }
  return origins.map(normalized);
}

/** Without the scheme's own port, in lower case; "null", which a sandboxed page has, stays what it is. */
function normalized(origin: string): string {
  return URL.canParse(origin) ? new URL(origin).origin : origin;
}

/**
 * The page comes from this server. By host and port alone: behind a proxy that does TLS, the scheme is
 * not this server's.
 */
export function isOwnOrigin(origin: string, host: string | undefined): boolean {
  if (host === undefined || /[/?#@\\]/.test(host) || !URL.canParse(origin)) return false;
  const { protocol, host: ofPage } = new URL(origin);
  if (!/^https?:$/.test(protocol) || !URL.canParse(`${protocol}//${host}`)) return false;
  return new URL(`${protocol}//${host}`).host === ofPage;
}

/** A Host that nobody can have given to a server of theirs: an address, or localhost. */
export function isLocalName(host: string): boolean {
  const name = host
    .replace(/:\d*$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "")
    .toLowerCase();
  return isIP(name) !== 0 || name === "localhost" || name.endsWith(".localhost");
}

function originRefused(origin: string): ArrwError {
  const shown = JSON.stringify(origin.slice(0, 200));
  return new ArrwError(
    "PERMISSION_DENIED",
    `a page from ${shown} may not do this; ARRW_HTTP_CORS_ORIGINS names the origins that may`,
    { reason: "ORIGIN_NOT_ALLOWED" },
  );
}

function hostRefused(host: string): ArrwError {
  const shown = JSON.stringify(host.slice(0, 200));
  return new ArrwError(
    "PERMISSION_DENIED",
    `this server is for its own machine: the Host header must be an address or localhost; got ${shown}`,
    { reason: "HOST_NOT_ALLOWED" },
  );
}
