import { textHash } from "../../../platform/embedding/text-hash.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { connect, unary } from "../../../platform/grpc/client.ts";
import { EmbeddingServiceClient } from "../../../proto/gen/arrwdb/index/v1/embeddings.ts";
import type { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { whileUnavailable } from "../retry.ts";

export interface StoredEmbedding {
  readonly libraryId: string;
  readonly embeddingId: string;
  readonly dimensions: number;
}

const MAX_HASHES = 4_096;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const CALL_TIMEOUT_MS = 15_000;
/** The index may be restarting. */
const ASK_FOR_MS = 20_000;

/** Vectors that a library has of texts already: what was paid for, by whatever job, is not paid for again. */
export class StoredVectors {
  readonly #embeddings: EmbeddingServiceClient;

  /** Calls go over the channel of `index`. */
  constructor(index: IndexServiceClient) {
    const channel = index.getChannel();
    this.#embeddings = connect(EmbeddingServiceClient, channel.getTarget(), { channelOverride: channel });
  }

  /** Packed vectors by the place of their text. @throws ArrwError, or the signal's reason */
  async find(
    embedding: StoredEmbedding,
    texts: readonly string[],
    signal: AbortSignal,
  ): Promise<Map<number, Buffer>> {
    const found = new Map<number, Buffer>();
    const vectorBytes = embedding.dimensions * 4;
    const atOnce = Math.max(1, Math.min(MAX_HASHES, Math.floor(MAX_ANSWER_BYTES / vectorBytes)));
    for (let start = 0; start < texts.length; start += atOnce) {
      const hashes = Buffer.concat(texts.slice(start, start + atOnce).map(textHash));
      const answer = await this.#ask(embedding, hashes, signal);
      for (const [n, place] of answer.found.entries()) {
        found.set(start + place, answer.vectors.subarray(n * vectorBytes, (n + 1) * vectorBytes));
      }
    }
    return found;
  }

  async #ask({ libraryId, embeddingId }: StoredEmbedding, hashes: Buffer, signal: AbortSignal) {
    const { lookupEmbeddings } = this.#embeddings;
    const request = { libraryId, embeddingId, hashes };
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal };
    try {
      return await whileUnavailable(() => unary(this.#embeddings, lookupEmbeddings, request, call), {
        forMs: ASK_FOR_MS,
        signal,
      });
    } catch (error) {
      // An index of the version before, while a system is updated.
      if (error instanceof ArrwError && error.code === "UNIMPLEMENTED") {
        return { found: [], vectors: Buffer.alloc(0) };
      }
      throw error;
    }
  }
}
