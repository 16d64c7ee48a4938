import { readFileSync } from "node:fs";
import { type DescMethod, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { VERSION } from "../../../platform/version.ts";
import { errorSchema } from "./answers.ts";
import type { JsonCodec } from "./codec.ts";
import { type Describing, json, operationId } from "./describing.ts";
import { type Parameter, Parameters } from "./parameters.ts";
import type { Route } from "./route.ts";
import { namesInPath, unaryRoutes } from "./routes.ts";
import { commentsOf, type JsonSchema, Schemas } from "./schemas.ts";
import { streamPaths } from "./stream-docs.ts";

/** OpenAPI 3.1 of the HTTP API, made of the table of routes, the contract's descriptors and its comments. */

const COMMENTS = new URL("../../../proto/gen/comments.binpb", import.meta.url);
const SERVICES = ["JobService", "LibraryService", "QueueService"] as const;
const TAGS: Readonly<Record<string, string>> = {
  JobService: "Jobs",
  LibraryService: "Libraries",
  QueueService: "Queues and workers",
};

/** What is wrong in general, by status. */
const FAILURES: Readonly<Record<number, string>> = {
  400: "The request is malformed, or has values that are not allowed: fields has all of them",
  401: "Credentials are missing or not valid",
  403: "The credentials are not for this",
  404: "There is no such job, library, document, worker or path",
  409: "It can't be done as things are: the job has ended, the name is taken, ...",
  410: "It is no longer kept",
  413: "The body is larger than 8 MiB: stream documents",
  415: "The body is not what this path takes",
  416: "The range is not within the file",
  429: "Too many requests: the header Retry-After says when to try again",
  503: "The system can't answer now: try again",
  504: "No answer in time",
};
const OF_ALL = [400, 401, 403, 429, 503, 504];

export type PathItem = Readonly<Record<string, JsonSchema>>;

export function openApi(codec: JsonCodec): JsonSchema {
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(COMMENTS));
  const schemas = new Schemas(commentsOf(file));
  const describing = new Description(codec, schemas);
  const paths: Record<string, PathItem> = {};
  const add = (path: string, method: string, operation: JsonSchema): void => {
    paths[path] = { ...paths[path], [method]: operation };
  };
  for (const route of unaryRoutes(codec))
    add(route.path, route.method.toLowerCase(), describing.operation(route));
  for (const { path, method, operation } of streamPaths(describing)) add(path, method, operation);
  const responses = Object.fromEntries(
    Object.entries(FAILURES).map(([status, description]) => [
      `Error${status}`,
      { description, content: json(errorSchema(schemas)) },
    ]),
  );
  return {
    openapi: "3.1.0",
    info: { title: "arrwDB jobs", version: VERSION, description: ABOUT },
    servers: [{ url: "/" }],
    security: [{}, { bearer: [] }, { apiKey: [] }],
    tags: SERVICES.map((name) => ({
      name: TAGS[name],
      description: schemas.comment(`arrwdb.v1.${name}`)?.split("\n\n")[0],
    })),
    paths,
    components: {
      schemas: schemas.components,
      responses,
      parameters: { RequestTimeout: REQUEST_TIMEOUT },
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer", description: "An API key, or a JWT." },
        apiKey: { type: "apiKey", in: "header", name: "x-api-key" },
      },
    },
  };
}

const ABOUT = [
  "Durable background jobs for vector libraries. The same as the gRPC API, called with JSON.",
  "Fields are named as in the proto files. 64-bit integers are JSON numbers, times RFC 3339 in UTC, durations seconds with an s; a vector is an array of numbers. null is a field that isn't set.",
  "Errors are {error: {code, message, fields, reason}}: code for what to do, reason for programs, fields for all that is wrong with a request.",
].join("\n\n");

const REQUEST_TIMEOUT: JsonSchema = {
  name: "Request-Timeout-Ms",
  in: "header",
  description: "How long the client waits, in ms. Default: the server's, 30,000 if nobody changed that.",
  schema: { type: "integer", minimum: 1, maximum: 600_000 },
};

class Description implements Describing {
  readonly codec: JsonCodec;
  readonly schemas: Schemas;

  constructor(codec: JsonCodec, schemas: Schemas) {
    this.codec = codec;
    this.schemas = schemas;
  }

  operation(route: Route): JsonSchema {
    const { rpc, path, method, summary, parameters = [], conflicts = method !== "GET" } = route;
    const [service = "", name = ""] = rpc.split(".");
    const type = this.#method(service, name);
    const comment = this.schemas.comment(`arrwdb.v1.${rpc}`) ?? "";
    const input = type.input.typeName;
    const body = this.#body(route, type);
    return {
      operationId: operationId(method, path),
      tags: [TAGS[service]],
      summary: summary ?? firstSentence(comment),
      description: comment,
      "x-rpc": `arrwdb.v1.${service}/${name}`,
      parameters: [
        ...this.pathParameters(path, input),
        ...this.parameters(input, parameters),
        { $ref: "#/components/parameters/RequestTimeout" },
      ],
      ...(body ? { requestBody: body } : {}),
      responses: {
        ...this.#success(route, type),
        ...this.failures([404, ...(conflicts ? [409] : []), ...(body ? [413, 415] : [])]),
      },
    };
  }

  parameters(message: string, parameters: readonly Parameter[]): readonly JsonSchema[] {
    const known = new Parameters(this.codec.messageType(message), parameters);
    return Array.from(known.all, ({ name, about, type }) => {
      if (!type) return { name, in: "query", description: about, schema: { type: "boolean" } };
      const { description, ...schema } = this.schemas.field(type);
      // Several of a list: repeated, or separated by commas; of a map key:value, repeated.
      const single = this.schemas.value(type);
      const array = type.fieldKind === "list" || type.fieldKind === "map";
      const shown = array ? { type: "array", items: single } : "anyOf" in schema ? schema : single;
      return { name, in: "query", description: about ?? description, schema: shown };
    });
  }

  pathParameters(path: string, message: string): readonly JsonSchema[] {
    const type = this.codec.messageType(message);
    return namesInPath(path).map((name) => {
      const description = this.schemas.comment(`${type.typeName}.${name}`);
      return { name, in: "path", required: true, description, schema: { type: "string" } };
    });
  }

  failures(statuses: readonly number[]): Record<string, JsonSchema> {
    const all = [...OF_ALL, ...statuses].sort((a, b) => a - b);
    return Object.fromEntries(
      all.map((status) => [String(status), { $ref: `#/components/responses/Error${status}` }]),
    );
  }

  #body({ method, path, body, fixed = {} }: Route, { input }: DescMethod): JsonSchema | undefined {
    if (method === "GET" || method === "DELETE") return undefined;
    const left = [...namesInPath(path), ...Object.keys(fixed)];
    if (!body && input.fields.every(({ name }) => left.includes(name))) return undefined;
    const schema = body?.schema?.(this.schemas) ?? this.schemas.fields(input, left);
    return { required: body !== undefined, content: json(schema) };
  }

  #success({ status = 200, answer, run }: Route, { output }: DescMethod): Record<string, JsonSchema> {
    const schema = answer ? answer.schema(this.schemas) : this.schemas.message(output);
    const none = { 204: { description: "Done." } };
    if (!schema) return none;
    return { [status]: { description: "Done.", content: json(schema) }, ...(run ? none : {}) };
  }

  #method(service: string, name: string): DescMethod {
    const found = this.codec.registry.getService(`arrwdb.v1.${service}`);
    const method = found?.methods.find((each) => each.name === name);
    if (!method) throw new Error(`the contract has no method ${service}.${name}`);
    return method;
  }
}

function firstSentence(comment: string): string {
  return (/^[^.\n]*/.exec(comment)?.[0] ?? "").replace(/:$/, "");
}
