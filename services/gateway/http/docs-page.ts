import fastify, { type FastifyInstance } from "fastify";
import type { JsonCodec } from "./codec.ts";
import { openApi } from "./openapi.ts";
import type { JsonSchema } from "./schemas.ts";

/**
 * GET /openapi.json, and /docs, a page that shows it. The page and its script come from here alone, and its policy lets
 * it load nothing from elsewhere. Both are made when they are first asked for: most gateways never are, and the script
 * takes tens of MB and half a second.
 */

/** The script sets styles, and has its pictures in itself. */
const POLICY = [
  "default-src 'self'",
  "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "worker-src 'self' blob:",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join("; ");

export function docsRoutes(app: FastifyInstance, codec: JsonCodec): void {
  let document: JsonSchema | undefined;
  app.get("/openapi.json", async () => {
    document ??= openApi(codec);
    return document;
  });
  const page = madeOnce(createPage);
  for (const url of ["/docs", "/docs/*"]) {
    app.get(url, { exposeHeadRoute: false }, async (request, reply) => {
      const { routing } = await page();
      reply.hijack();
      routing(request.raw, reply.raw);
    });
  }
}

/** What was made at the first call; after a failure the next call tries again. */
export function madeOnce<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

async function createPage(): Promise<FastifyInstance> {
  const { default: reference } = await import("@scalar/fastify-api-reference");
  const app = fastify({ logger: false });
  app.addHook("onRequest", async (_request, reply) => {
    reply.header("content-security-policy", POLICY).header("x-content-type-options", "nosniff");
    reply.header("referrer-policy", "no-referrer");
  });
  await app.register(reference, {
    routePrefix: "/docs",
    configuration: {
      url: "/openapi.json",
      pageTitle: "arrwDB jobs: HTTP API",
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      agent: { disabled: true },
      mcp: { disabled: true },
      showDeveloperTools: "never",
    },
  });
  await app.ready();
  return app;
}
