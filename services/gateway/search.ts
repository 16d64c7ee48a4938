import { LRUCache } from "lru-cache";
import type { CreateProvider, EmbeddingProvider } from "../../platform/embedding/provider.ts";
import { encode } from "../../platform/encode.ts";
import { ArrwError, invalidArgument, toArrwError } from "../../platform/errors.ts";
import { SearchRequest as IndexSearch, IndexServiceService } from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { SearchRequest } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { checkSearch } from "./domain/validation/library.ts";
import { packedVector, shapeOf } from "./domain/validation/vector.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient, KnownLibrary } from "./index-client.ts";

/** Searches: a text becomes a vector here, with the library's provider. */

const REMEMBERED_PROVIDERS = 100;
/** A library may be asked for just before its embedding changes, and answered after it. */
const MAX_TRIES = 3;

export class Search {
  readonly #index: IndexClient;
  readonly #createProvider: CreateProvider;
  readonly #providers = new LRUCache<string, EmbeddingProvider>({ max: REMEMBERED_PROVIDERS });

  constructor(index: IndexClient, createProvider: CreateProvider) {
    this.#index = index;
    this.#createProvider = createProvider;
  }

  /** Encoded SearchResponse. @throws ArrwError */
  async run(request: SearchRequest, context: GatewayContext): Promise<Buffer> {
    const { libraryId } = request;
    for (let tries = 1; ; tries++) {
      const known = await this.#library(request, context);
      try {
        return await this.#once(request, known, context);
      } catch (error) {
        if (tries === MAX_TRIES || known instanceof ArrwError || !outdated(error)) throw error;
        // What is remembered may be from before it was embedded anew, or deleted and made again; others may have seen to it.
        if (this.#index.remembered(libraryId) === known) this.#index.forget(libraryId);
      }
    }
  }

  async #once(
    request: SearchRequest,
    known: KnownLibrary | ArrwError,
    context: GatewayContext,
  ): Promise<Buffer> {
    const violations = violationsOf(request, known);
    if (violations.length > 0) throw invalidArgument(violations);
    if (known instanceof ArrwError) throw known;
    const { k, efSearch, filter, includeText, exact } = request;
    const bytes = encode(IndexSearch, {
      libraryId: known.library.libraryId,
      embeddingId: known.embeddingId,
      vector: await this.#vector(request, known, context),
      k,
      efSearch,
      filter,
      includeText,
      exact,
    });
    // SearchResponse is the same on both sides.
    return this.#index.call(IndexServiceService.search, bytes, context);
  }

  /** What is remembered of it, unless the request doesn't fit that: a vector of its new dimensions is right. */
  async #library(request: SearchRequest, context: GatewayContext): Promise<KnownLibrary | ArrwError> {
    const { libraryId } = request;
    const remembered = this.#index.remembered(libraryId);
    const { length } = remembered ? violationsOf(request, remembered) : [];
    if (length > 0 && length > violationsOf(request, undefined).length) this.#index.forget(libraryId);
    return this.#index.library(libraryId, context).catch(toArrwError);
  }

  async #vector(request: SearchRequest, known: KnownLibrary, context: GatewayContext): Promise<Buffer> {
    const { query } = request;
    if (query?.$case === "vector") return packedVector(query.value);
    const { embedding } = known.library;
    if (!embedding) throw new ArrwError("INTERNAL", "the index answered without the library's embedding");
    let provider = this.#providers.get(known.embeddingId);
    if (!provider) {
      provider = this.#createProvider(embedding);
      this.#providers.set(known.embeddingId, provider);
    }
    const embedded = await provider.embedEach([query?.value ?? ""], context.signal, "query");
    for (const description of embedded.refused.values())
      throw invalidArgument([{ field: "text", description }]);
    const vector = embedded.rows;
    return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength);
  }
}

function violationsOf(request: SearchRequest, known: KnownLibrary | ArrwError | undefined) {
  return checkSearch(request, known && !(known instanceof ArrwError) ? shapeOf(known.library) : undefined);
}

function outdated(error: unknown): boolean {
  const { reason } = toArrwError(error);
  return reason === "EMBEDDING_CHANGED" || reason === "LIBRARY_NOT_FOUND";
}
