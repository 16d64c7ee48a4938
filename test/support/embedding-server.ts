import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import type { Cleanup } from "./temp.ts";

/** A call as the server took it. */
export interface ReceivedCall {
  /** From 1. */
  readonly number: number;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly model: string;
  readonly texts: readonly string[];
  /** Cohere's. */
  readonly inputType: string | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What the server does instead of answering as it should. */
export type Fault =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
  /** The answer as it would be, changed. */
  | { readonly answer: (text: string) => string }
  /** Another length of each vector. */
  | { readonly dimensions: number }
  /** Never answers. */
  | "hang"
  /** One byte every 20 ms. */
  | "drip"
  /** Ends the connection without an answer. */
  | "reset"
  /** Half of the answer, then the end of the connection. */
  | "cut";

/** A text that has it is too long for the server. */
export const TOO_LONG = "too-long-text";

/**
 * Speaks OpenAI's /v1/embeddings and Cohere's /v2/embed on a free port, with vectors made of each text's hash. It
 * counts what a provider would charge for: texts of calls that it answered as it should.
 */
export class EmbeddingServer {
  readonly calls: ReceivedCall[] = [];
  /** Texts answered with vectors, with how often. */
  readonly charged = new Map<string, number>();
  /** Calls under way at once, at most so far. */
  mostAtOnce = 0;
  dimensions = 8;
  /** Without base64, as servers that don't know encoding_format. */
  plainNumbers = false;
  /** undefined = it answers as it should. */
  fault: (call: ReceivedCall) => Fault | undefined = () => undefined;
  /** Awaited before each answer. */
  pace: (call: ReceivedCall) => Promise<void> = async () => undefined;
  #atOnce = 0;
  #server: Server | undefined;

  static async start(t: Cleanup): Promise<EmbeddingServer> {
    const server = new EmbeddingServer();
    await server.listen();
    t.after(() => server.close());
    return server;
  }

  /** Without a path. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Texts answered more than once. */
  get chargedTwice(): string[] {
    return [...this.charged].flatMap(([text, times]) => (times > 1 ? [text] : []));
  }

  #port = 0;

  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      void this.#take(request, response).catch(() => response.destroy());
    });
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return;
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#atOnce += 1;
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#atOnce);
    response.on("close", () => {
      this.#atOnce -= 1;
    });
    const body = (await json(request)) as Record<string, unknown>;
    const call: ReceivedCall = {
      number: this.calls.length + 1,
      path: request.url ?? "",
      authorization: request.headers.authorization,
      model: String(body.model),
      texts: (body.input ?? body.texts) as string[],
      inputType: body.input_type as string | undefined,
      body,
    };
    this.calls.push(call);
    await this.pace(call);
    this.#answer(call, this.fault(call), response);
  }

  #answer(call: ReceivedCall, fault: Fault | undefined, response: ServerResponse): void {
    if (fault === "hang") return;
    if (fault === "reset") return void response.socket?.resetAndDestroy();
    if (fault === undefined && call.texts.some((text) => text.includes(TOO_LONG))) {
      return void response.writeHead(400, { "content-type": "application/json" }).end(lengthRefusal(call));
    }
    if (typeof fault === "object" && "status" in fault) {
      response.writeHead(fault.status, { "content-type": "application/json", ...fault.headers });
      return void response.end(fault.body ?? JSON.stringify({ error: { message: "as the test asked" } }));
    }
    const dimensions =
      typeof fault === "object" && "dimensions" in fault ? fault.dimensions : this.dimensions;
    const text = JSON.stringify(
      call.path.endsWith("/v2/embed") ? cohereAnswer(call, dimensions) : this.#openaiAnswer(call, dimensions),
    );
    response.writeHead(200, { "content-type": "application/json" });
    if (fault === "drip") return void drip(text, response);
    if (fault === "cut") {
      return void response.write(text.slice(0, text.length / 2), () => response.socket?.end());
    }
    if (typeof fault === "object" && "answer" in fault) return void response.end(fault.answer(text));
    response.end(text);
    if (fault) return;
    for (const each of call.texts) this.charged.set(each, (this.charged.get(each) ?? 0) + 1);
  }

  #openaiAnswer({ texts, body }: ReceivedCall, dimensions: number) {
    const base64 = body.encoding_format === "base64" && !this.plainNumbers;
    const data = texts.map((text, index) => {
      const vector = vectorOf(text, dimensions);
      const embedding = base64 ? Buffer.from(vector.buffer).toString("base64") : [...vector];
      return { object: "embedding", index, embedding };
    });
    // The index says which is which, not the order.
    return { object: "list", data: data.reverse(), usage: { prompt_tokens: 1, total_tokens: 1 } };
  }
}

function lengthRefusal({ path }: ReceivedCall): string {
  if (path.endsWith("/v2/embed")) {
    return JSON.stringify({ message: "too many tokens: the text is longer than the model takes" });
  }
  const message = "This model's maximum context length is 8192 tokens, however you requested 10000 tokens";
  return JSON.stringify({ error: { message, type: "invalid_request_error" } });
}

function cohereAnswer({ texts, inputType }: ReceivedCall, dimensions: number) {
  const float = texts.map((text) => [...vectorOf(`${inputType} ${text}`, dimensions)]);
  return { id: "1", embeddings: { float }, texts };
}

/** What the server answers for a text (Cohere's: for its input_type, a blank and the text). */
export function vectorOf(text: string, dimensions: number): Float32Array {
  const bytes = createHash("shake256", { outputLength: dimensions * 2 })
    .update(text)
    .digest();
  return Float32Array.from({ length: dimensions }, (_, n) => bytes.readInt16LE(n * 2) / 32_768);
}

function drip(text: string, response: ServerResponse): void {
  let sent = 0;
  const timer = setInterval(() => {
    if (sent < text.length) response.write(text[sent++]);
    else response.end();
  }, 20);
  response.on("close", () => clearInterval(timer));
}
