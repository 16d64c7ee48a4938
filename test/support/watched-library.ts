import type { Client, ClientReadableStream, ServiceError } from "@grpc/grpc-js";
import { type ArrwError, toArrwError } from "../../platform/errors.ts";
import { serverStream } from "../../platform/grpc/client.ts";
import type { WatchLibraryRequest, WatchLibraryResponse } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { eventually } from "./eventually.ts";

type Watch = (
  request: WatchLibraryRequest,
  ...rest: never[]
) => ClientReadableStream<WatchLibraryResponse> | ServiceError;

/** A watch of a library, of the index or through the gateway, and what it has brought so far. */
export class WatchedLibrary {
  readonly events: WatchLibraryResponse[] = [];
  /** Where it began, if it was from now. */
  start = "";
  error: ArrwError | undefined;
  readonly ended: Promise<void>;
  readonly #abort = new AbortController();

  constructor(client: Client, method: Watch, libraryId: string, afterCursor = "") {
    const call = { unbounded: true, signal: this.#abort.signal };
    const request = { libraryId, afterCursor };
    this.ended = this.#read(serverStream(client, method as never, request, call));
  }

  async #read(stream: AsyncGenerator<WatchLibraryResponse>): Promise<void> {
    try {
      for await (const message of stream) {
        if (message.event === "") this.start = message.cursor;
        else this.events.push(message);
      }
    } catch (error) {
      this.error = toArrwError(error);
    }
  }

  /** "document." left out: "upserted a", "deleted b". */
  get told(): string[] {
    return this.events.map(({ event, documentId }) => `${event.replace("document.", "")} ${documentId}`);
  }

  /** From here on it misses nothing. */
  async started(): Promise<this> {
    await eventually(() => this.start !== "" || this.error, { what: "the watch's start" });
    if (this.error) throw this.error;
    return this;
  }

  async count(events: number): Promise<this> {
    await eventually(() => this.events.length >= events || this.error, {
      timeoutMs: 20_000,
      what: `${events} events`,
    });
    return this;
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.ended;
  }
}
