import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ArrwError, invalidArgument, toArrwError } from "../../../platform/errors.ts";
import type { JsonCodec } from "./codec.ts";
import type { HttpDoor } from "./door.ts";
import { withPaths } from "./errors.ts";
import { jobRoutes } from "./job-routes.ts";
import type { JsonObject } from "./json-shape.ts";
import { libraryRoutes } from "./library-routes.ts";
import { Parameters } from "./parameters.ts";
import { queueRoutes } from "./queue-routes.ts";
import type { Route, RouteCall } from "./route.ts";
import { type Rpc, unaryRpcs } from "./rpcs.ts";
import { submitRoutes } from "./submit-routes.ts";

/** The table of all routes that answer once, and what makes it answer. */

export function unaryRoutes(codec: JsonCodec): readonly Route[] {
  return [...submitRoutes(codec), ...jobRoutes(codec), ...queueRoutes(codec), ...libraryRoutes(codec)];
}

/** Names in a path that are in braces. */
export function namesInPath(path: string): readonly string[] {
  return Array.from(path.matchAll(/\{(\w+)\}/g), ([, name = ""]) => name);
}

export function addUnaryRoutes(app: FastifyInstance, door: HttpDoor): void {
  const rpcs = unaryRpcs(door.api, door.codec.registry);
  for (const route of unaryRoutes(door.codec)) {
    const answering = new Answering(route, door, rpcs);
    app.route({
      method: route.method,
      url: route.path.replace(/\{(\w+)\}/g, ":$1"),
      config: { rpc: route.rpc },
      handler: (request, reply) => answering.answer(request, reply),
    });
  }
}

class Answering {
  readonly #route: Route;
  readonly #door: HttpDoor;
  readonly #rpcs: ReadonlyMap<string, Rpc>;
  readonly #parameters: Parameters;

  constructor(route: Route, door: HttpDoor, rpcs: ReadonlyMap<string, Rpc>) {
    this.#route = route;
    this.#door = door;
    this.#rpcs = rpcs;
    this.#parameters = new Parameters(this.#rpc(route.rpc).type.input, route.parameters ?? []);
  }

  async answer(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
    const { status = 200, answer, location } = this.#route;
    const response = await this.#response(request);
    const shown = answer ? answer.of(response) : response;
    reply.header("cache-control", "no-store");
    if (shown === undefined) return reply.code(204).send();
    if (location) reply.header("location", location(shown));
    return reply.code(status).send(shown);
  }

  async #response(request: FastifyRequest): Promise<JsonObject> {
    const { rpc, run } = this.#route;
    const context = this.#door.contextOf(request);
    const call: RouteCall = {
      call: async (name, json) => {
        const { type, call } = this.#rpc(name);
        const bytes = await call(this.#door.codec.encode(type.input, json), context);
        return this.#door.codec.decode(type.output, bytes);
      },
    };
    const json = this.#request(request);
    try {
      return run ? await run(call, json) : await call.call(rpc, json);
    } catch (error) {
      throw this.#shown(toArrwError(error));
    }
  }

  /** What body, query and path say together; each field is in one of them. */
  #request(request: FastifyRequest): JsonObject {
    const { method, body, fixed = {} } = this.#route;
    const sent = method === "GET" ? {} : ((request.body ?? {}) as JsonObject);
    if (method === "DELETE") refuseFields(sent);
    const given = method === "DELETE" ? {} : sent;
    const inPath = { ...fixed, ...(request.params as Record<string, string>) };
    const twice = Object.keys(inPath).filter((name) => Object.hasOwn(given, name));
    if (twice.length > 0) {
      const description = "in the path; got it in the body, too";
      throw invalidArgument(twice.map((field) => ({ field, description })));
    }
    const json = body ? body.request(given) : given;
    const others = { ...json, ...inPath };
    const shown = (path: string): string => body?.shown?.(path) ?? path;
    return { ...json, ...this.#parameters.read(request.query, { others, shown }), ...inPath };
  }

  #shown(error: ArrwError): ArrwError {
    const { body } = this.#route;
    return withPaths(error, (path) => this.#parameters.shown(body?.shown?.(path) ?? path));
  }

  #rpc(name: string): Rpc {
    const rpc = this.#rpcs.get(name);
    if (!rpc) throw new Error(`the contract has no method ${name}`);
    return rpc;
  }
}

/** What a DELETE is to do would be lost in its body. @throws ArrwError INVALID_ARGUMENT for any field */
function refuseFields(body: JsonObject): void {
  const names = Object.keys(body);
  if (names.length === 0) return;
  const description = "a DELETE takes parameters of the query string; got it in the body";
  throw invalidArgument(names.map((name) => ({ field: name.slice(0, 100), description })));
}
