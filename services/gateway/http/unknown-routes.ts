import type { FastifyInstance } from "fastify";
import { ArrwError } from "../../../platform/errors.ts";

/** 404 for paths that are not there; 405 with Allow where only the method is wrong. To be called before routes are added. */
export function nameUnknownRoutes(app: FastifyInstance): void {
  const methods = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();
  app.addHook("onRoute", ({ url, method }) => {
    // Of CORS, for preflights: no path.
    if (url === "*") return;
    const known = methods.get(url) ?? { pattern: patternOf(url), methods: new Set<string>() };
    for (const each of [method].flat()) known.methods.add(each);
    methods.set(url, known);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.replace(/[?;#].*$/s, "");
    const allowed = new Set<string>();
    for (const known of methods.values()) {
      if (known.pattern.test(path)) for (const each of known.methods) allowed.add(each);
    }
    const shown = path.slice(0, 200);
    if (allowed.size === 0) {
      throw new ArrwError("NOT_FOUND", `there is no path ${shown}; see /openapi.json`, {
        reason: "PATH_NOT_FOUND",
      });
    }
    const allow = [...allowed].sort().join(", ");
    reply.header("allow", allow);
    if (request.method === "OPTIONS") return reply.code(204).send();
    throw new ArrwError("UNIMPLEMENTED", `${shown} takes ${allow}; got ${request.method}`, {
      reason: "METHOD_NOT_ALLOWED",
    });
  });
}

/** "/v1/jobs/:job_id" as what it matches, with or without a slash at the end. */
function patternOf(url: string): RegExp {
  const parts = url
    .split("/")
    .map((each) =>
      each === "*" ? ".*" : each.startsWith(":") ? "[^/]+" : each.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"),
    );
  return new RegExp(`^${parts.join("/")}/?$`);
}
