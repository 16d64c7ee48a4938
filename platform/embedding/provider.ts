import type { EmbeddingConfig } from "../../proto/gen/arrwdb/v1/document.ts";

/** What a text is embedded for: some models make other vectors of queries than of documents. */
export type EmbeddingPurpose = "document" | "query";

/** Texts that were embedded, but for those that the provider refused. */
export interface EmbeddedTexts {
  /** texts.length x dimensions float32, row after row; a refused text's row is zeros. */
  readonly rows: Float32Array;
  /** Why texts were refused, by their place (from 0). The same texts would be refused again. */
  readonly refused: ReadonlyMap<number, string>;
}

/** Turns texts into vectors. */
export interface EmbeddingProvider {
  readonly dimensions: number;
  /** Embedding costs money, or another machine's time: ask for what is known already before you embed. */
  readonly paid: boolean;
  /**
   * Embeds the texts in order: texts.length x dimensions float32, row after row. Rows are as the provider makes them:
   * hashing's have length 1, others' may have any. Batches by itself. Default purpose: document.
   * @throws ArrwError: a retryable failure is UNAVAILABLE or RESOURCE_EXHAUSTED (with retryAfterMs where it is known);
   * INVALID_ARGUMENT, reason EMBEDDING_INPUT_REFUSED, names the first text that can't be embedded
   */
  embed(texts: readonly string[], signal: AbortSignal, purpose?: EmbeddingPurpose): Promise<Float32Array>;
  /** The same, but a text that can't be embedded fails alone. @throws ArrwError */
  embedEach(
    texts: readonly string[],
    signal: AbortSignal,
    purpose?: EmbeddingPurpose,
  ): Promise<EmbeddedTexts>;
}

export interface ProviderOptions {
  /** Vectors that the process remembers from before are not used: the model behind the name may be another now. */
  readonly anew?: boolean;
}

/** Makes the provider that a library's configuration names. @throws ArrwError INVALID_ARGUMENT for an unknown one */
export type CreateProvider = (config: EmbeddingConfig, options?: ProviderOptions) => EmbeddingProvider;
