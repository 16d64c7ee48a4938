import { createHash } from "node:crypto";
import type { EmbeddingConfig } from "../../proto/gen/arrwdb/v1/document.ts";

/**
 * What makes two vectors comparable, as one short id: 32 hex characters of a SHA-256 over provider, model and
 * dimensions. Search and UpsertDocuments carry it, so that a vector of another model never meets the index.
 */
export function embeddingId(config: Pick<EmbeddingConfig, "provider" | "model" | "dimensions">): string {
  const { provider, model, dimensions } = config;
  // JSON keeps the fields apart whatever characters they hold.
  const text = JSON.stringify([provider, model, dimensions]);
  return createHash("sha256").update(text).digest("hex").slice(0, 32);
}
