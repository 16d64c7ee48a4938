import { eventually } from "./eventually.ts";
import type { Cleanup } from "./temp.ts";

export interface SseEvent {
  readonly id: string | undefined;
  readonly event: string | undefined;
  /** Parsed; undefined = the block had none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests know what it is
  readonly data: any;
}

/** A stream of server-sent events, read as EventSource reads it. */
export class SseStream {
  readonly status: number;
  readonly headers: Headers;
  /** Blocks so far, also those that have an id alone. */
  readonly events: SseEvent[] = [];
  comments = 0;
  /** The body where it is no stream of events. */
  text = "";
  ended = false;
  readonly #abort: AbortController;

  private constructor(response: Response, abort: AbortController) {
    this.status = response.status;
    this.headers = response.headers;
    this.#abort = abort;
    this.#read(response).then(
      () => {
        this.ended = true;
      },
      () => {
        this.ended = true;
      },
    );
  }

  /** Closed after the test. */
  static async open(t: Cleanup, url: string, headers: Record<string, string> = {}): Promise<SseStream> {
    const abort = new AbortController();
    t.after(() => abort.abort());
    return new SseStream(await fetch(url, { headers, signal: abort.signal }), abort);
  }

  /** With an event's name, without the last `end`. */
  get named(): SseEvent[] {
    return this.events.filter(({ event }) => event !== undefined && event !== "end");
  }

  get lastId(): string {
    return this.events.findLast(({ id }) => id !== undefined)?.id ?? "";
  }

  async count(n: number): Promise<void> {
    await eventually(() => this.named.length >= n, { what: `${n} events; ${this.named.length} came` });
  }

  async end(): Promise<void> {
    await eventually(() => this.ended, { what: "the end of the stream" });
  }

  close(): void {
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
      this.text = await response.text();
      return;
    }
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      rest += decoder.decode(chunk, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      for (const block of blocks) this.#take(block);
    }
  }

  #take(block: string): void {
    const fields = new Map(block.split("\n").map((line) => line.split(/:(.*)/s, 2) as [string, string]));
    if (fields.has("")) this.comments += 1;
    const data = fields.get("data");
    const event: SseEvent = {
      id: fields.get("id")?.trim(),
      event: fields.get("event")?.trim(),
      data: data === undefined ? undefined : JSON.parse(data),
    };
    if (event.id !== undefined || event.event !== undefined) this.events.push(event);
  }
}
