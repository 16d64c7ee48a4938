import type { EmbeddingConfig } from "../../proto/gen/arrwdb/v1/document.ts";

/** Turns texts into vectors. */
export interface EmbeddingProvider {
  readonly dimensions: number;
  /**
   * Embeds the texts in order: texts.length x dimensions float32, row after row, each row L2-normalised where the
   * provider says so. Batches by itself. @throws ArrwError; a retryable failure is UNAVAILABLE or RESOURCE_EXHAUSTED
   */
  embed(texts: readonly string[], signal: AbortSignal): Promise<Float32Array>;
}

/** Makes the provider that a library's configuration names. @throws ArrwError INVALID_ARGUMENT for an unknown one */
export type CreateProvider = (config: EmbeddingConfig) => EmbeddingProvider;
