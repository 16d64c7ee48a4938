import type { JsonObject } from "./json-shape.ts";
import type { Parameter } from "./parameters.ts";
import type { JsonSchema, Schemas } from "./schemas.ts";

/** One line of the table of routes, which both the routes and their description are made of. */
export interface Route {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  /** "/v1/jobs/{job_id}": what is in braces is a field of the request. */
  readonly path: string;
  /** The method it calls: "JobService.GetJob". */
  readonly rpc: string;
  /** One line for people; default: the method's own comment. */
  readonly summary?: string;
  /** Parameters of the query string; none by default. */
  readonly parameters?: readonly Parameter[];
  /** GET and DELETE take none. Default of the others: the fields of the request that are not in the path. */
  readonly body?: Body;
  /** Fields of the request that the route itself decides. */
  readonly fixed?: JsonObject;
  /** Whether it may answer 409; default: all but GET. */
  readonly conflicts?: boolean;
  /** Of a success; default 200. */
  readonly status?: number;
  readonly answer?: Answer;
  /** Where what was made can be found: the response's Location. */
  readonly location?: (answer: JsonObject) => string;
  /** Called instead of the method; it calls that itself. */
  readonly run?: (call: RouteCall, request: JsonObject) => Promise<JsonObject>;
}

/** How a body that isn't the request itself becomes one. */
export interface Body {
  /** Fields of the request's message are named by paths; so are they here, before `shown`. */
  readonly request: (body: JsonObject) => JsonObject;
  /** A field's path in the request as it is in the body. */
  readonly shown?: (path: string) => string;
  readonly schema?: (schemas: Schemas) => JsonSchema;
}

/** How the answer is shown. */
export interface Answer {
  /** undefined = 204, without a body. */
  readonly of: (response: JsonObject) => JsonObject | undefined;
  readonly schema: (schemas: Schemas) => JsonSchema | undefined;
}

/** A request under way, for routes that call more than one method. */
export interface RouteCall {
  /** @throws ArrwError */
  call(rpc: string, request: JsonObject): Promise<JsonObject>;
}
