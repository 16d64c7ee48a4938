import { Client, credentials, Metadata, type MethodDefinition, type ServiceError } from "@grpc/grpc-js";
import { startSystem } from "../../cli/supervisor.ts";
import { fromServiceError } from "../../client/error.ts";
import { JobServiceService } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";
import { JsonCodec } from "../../services/gateway/http/codec.ts";
import { eventually } from "./eventually.ts";
import type { Cleanup } from "./temp.ts";

/** The same system through both of its doors. */

export const METHODS = { ...JobServiceService, ...LibraryServiceService, ...QueueServiceService };
export type Method = keyof typeof METHODS;
/** JSON of any shape. */
// biome-ignore lint/suspicious/noExplicitAny: tests say what they expect of it
export type Json = any;

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** undefined: the answer is not JSON. */
  readonly json: Json;
}

export interface Doors {
  /** host:port */
  readonly http: string;
  /** The messages of the answer as the codec shows them; `requests` has the fields that aren't default. */
  grpc(method: Method, requests: object | readonly object[], take?: number): Promise<Json[]>;
  /** What the call fails with. */
  grpcError(method: Method, request: object): Promise<ReturnType<typeof fromServiceError>>;
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** The first events of a stream of them. */
  events(path: string, take: number): Promise<{ readonly event: string; readonly data: Json }[]>;
}

const CALL_MS = 20_000;

/** All of arrwDB as processes, stopped after the test. */
export async function startDoors(t: Cleanup): Promise<Doors> {
  const system = await startSystem({ temporary: true, syncAlways: false });
  t.after(() => system.stop());
  const client = new Client(system.address, credentials.createInsecure());
  t.after(() => client.close());
  const http = system.addresses.find(({ setting }) => setting === "ARRW_GATEWAY_HTTP_PORT")?.address ?? "";
  await eventually(async () => (await fetch(`http://${http}/readyz`)).ok, { timeoutMs: CALL_MS });
  const codec = new JsonCodec();
  return {
    http,
    grpc: async (method, requests, take = Number.POSITIVE_INFINITY) => {
      const type = codec.registry
        .getService(serviceOf(method))
        ?.methods.find(({ localName }) => localName === method)?.output;
      if (!type) throw new Error(`the contract has no method ${method}`);
      const messages = await callGrpc(client, METHODS[method], [requests].flat(), take);
      return messages.map((bytes) => codec.decode(type, bytes));
    },
    grpcError: async (method, request) => {
      const outcome = await callGrpc(client, METHODS[method], [request], 1).catch((error) => error);
      if (Array.isArray(outcome)) throw new Error(`${method} did not fail`);
      return fromServiceError(outcome as ServiceError);
    },
    send: (method, path, body, headers) => sendHttp(`http://${http}${path}`, method, body, headers),
    events: (path, take) => readEvents(`http://${http}${path}`, take),
  };
}

function serviceOf(method: Method): string {
  return METHODS[method].path.split("/")[1] ?? "";
}

async function callGrpc(
  client: Client,
  method: (typeof METHODS)[Method],
  requests: readonly object[],
  take: number,
): Promise<Buffer[]> {
  const { path, requestDeserialize, requestStream, responseStream } = method;
  const serialize = method.requestSerialize as MethodDefinition<object, unknown>["requestSerialize"];
  const encode = (fields: object) =>
    serialize({ ...(requestDeserialize(Buffer.alloc(0)) as object), ...fields });
  const raw = (bytes: Buffer): Buffer => bytes;
  const options = { deadline: Date.now() + CALL_MS };
  if (responseStream) {
    const messages: Buffer[] = [];
    const stream = client.makeServerStreamRequest(
      path,
      encode,
      raw,
      requests[0] ?? {},
      new Metadata(),
      options,
    );
    for await (const message of stream) {
      messages.push(message as Buffer);
      if (messages.length < take) continue;
      stream.on("error", () => undefined).cancel();
      break;
    }
    return messages;
  }
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, message?: Buffer): void =>
      error ? reject(error) : resolve([message ?? Buffer.alloc(0)]);
    if (!requestStream) {
      client.makeUnaryRequest(path, encode, raw, requests[0] ?? {}, new Metadata(), options, done);
      return;
    }
    const stream = client.makeClientStreamRequest(path, encode, raw, new Metadata(), options, done);
    for (const request of requests) stream.write(request);
    stream.end();
  });
}

async function sendHttp(
  url: string,
  method: string,
  body: unknown,
  given: Record<string, string> = {},
): Promise<Answer> {
  const text = typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body);
  const response = await fetch(url, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...given },
    signal: AbortSignal.timeout(CALL_MS),
    ...(text === undefined ? {} : { body: text as string }),
  });
  const answer = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  const { status, headers } = response;
  return { status, headers, text: answer, json: isJson ? JSON.parse(answer) : undefined };
}

async function readEvents(url: string, take: number): Promise<{ event: string; data: Json }[]> {
  const abort = new AbortController();
  const response = await fetch(url, {
    signal: AbortSignal.any([abort.signal, AbortSignal.timeout(CALL_MS)]),
  });
  const events: { event: string; data: Json }[] = [];
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = /^event: (.*)$/m.exec(block)?.[1];
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (event !== undefined && data !== undefined) events.push({ event, data: JSON.parse(data) });
    }
    if (events.length >= take) break;
  }
  abort.abort();
  return events.slice(0, take);
}
