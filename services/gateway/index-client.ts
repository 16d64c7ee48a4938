import { LRUCache } from "lru-cache";
import { ArrwError, notFound } from "../../platform/errors.ts";
import {
  type ConnectOptions,
  channelUnready,
  connect,
  type OutgoingCall,
  unary,
  unaryBytes,
} from "../../platform/grpc/client.ts";
import type { Part } from "../../platform/lifecycle.ts";
import { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { Library } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { type Principal, sees, visibleLibraries } from "./domain/principal.ts";
import { isName } from "./domain/validation/ids.ts";
import { repeatWhileUnavailable } from "./repeat.ts";

/** Calls to the index service, and what libraries are made of, remembered for a moment. */

export interface KnownLibrary {
  readonly library: Library;
  readonly embeddingId: string;
}

export interface IndexCall {
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  /** Libraries that it doesn't see aren't there. */
  readonly principal: Principal;
}

const REMEMBERED_MS = 2_000;
const REMEMBERED_LIBRARIES = 1_000;
const ASK_TIMEOUT_MS = 5_000;

export class IndexClient implements Part {
  readonly name = "index client";
  readonly #address: string;
  readonly #tls: ConnectOptions["tls"];
  readonly #known = new LRUCache<string, KnownLibrary>({ max: REMEMBERED_LIBRARIES, ttl: REMEMBERED_MS });
  readonly #asked = new Map<string, Promise<KnownLibrary>>();
  #client: IndexServiceClient | undefined;

  constructor(address: string, tls?: ConnectOptions["tls"]) {
    this.#address = address;
    this.#tls = tls;
  }

  async start(): Promise<void> {
    this.#client = connect(IndexServiceClient, this.#address, { tls: this.#tls });
    channelUnready(this.#client);
  }

  async stop(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
  }

  unready(): string | undefined {
    return this.#client ? channelUnready(this.#client) : "not started";
  }

  get stub(): IndexServiceClient {
    if (!this.#client) throw new ArrwError("UNAVAILABLE", "the gateway is stopping");
    return this.#client;
  }

  /** `method` is one of IndexServiceService. @throws ArrwError */
  call(method: { readonly path: string }, request: Buffer, call: OutgoingCall): Promise<Buffer> {
    return unaryBytes(this.stub, method.path, request, call);
  }

  /**
   * By id or unique name, of those that the caller sees; as it was at most 2 s ago.
   * @throws ArrwError NOT_FOUND, also for what can't be a library's id or name
   */
  async library(idOrName: string, call: IndexCall): Promise<KnownLibrary> {
    if (!isName(idOrName)) throw notFound("library", idOrName);
    const known = this.#known.get(idOrName);
    if (known && sees(call.principal, known.library.libraryId)) return known;
    // Who doesn't see it waits for the index all the same: as long as for one that isn't there.
    const visible = visibleLibraries(call.principal);
    return repeatWhileUnavailable(() => this.#shared(idOrName, visible), call);
  }

  /** What is known of it without asking; the same object until it is asked again. */
  remembered(idOrName: string): KnownLibrary | undefined {
    return this.#known.get(idOrName);
  }

  /** Its next use asks again. */
  forget(idOrName: string): void {
    const known = this.#known.get(idOrName);
    for (const key of [idOrName, known?.library.libraryId, known?.library.name]) {
      if (key !== undefined) this.#known.delete(key);
    }
  }

  /** Those who ask for the same library at the same time share one call. */
  #shared(idOrName: string, visible: readonly string[]): Promise<KnownLibrary> {
    const key = visible.length === 0 ? idOrName : JSON.stringify([idOrName, visible]);
    const running = this.#asked.get(key);
    if (running) return running;
    const asked = this.#ask(idOrName, visible).finally(() => this.#asked.delete(key));
    this.#asked.set(key, asked);
    return asked;
  }

  async #ask(idOrName: string, visible: readonly string[]): Promise<KnownLibrary> {
    const bounds = { timeoutMs: ASK_TIMEOUT_MS };
    const request = { libraryId: idOrName, visibleLibraries: [...visible] };
    const reply = await unary(this.stub, this.stub.getLibrary, request, bounds);
    if (!reply.library) throw new ArrwError("INTERNAL", "the index answered without a library");
    const known = { library: reply.library, embeddingId: reply.embeddingId };
    this.#known.set(idOrName, known);
    return known;
  }
}
