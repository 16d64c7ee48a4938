import type { EmbeddingConfig } from "../../proto/gen/arrwdb/v1/document.ts";
import { ArrwError, invalidArgument, type Violation } from "../errors.ts";
import { HashingProvider } from "./hashing.ts";
import { NoProvider } from "./none.ts";
import type { EmbeddingProvider, ProviderOptions } from "./provider.ts";
import type { RemoteEmbedding, RemoteName } from "./remote-embedding.ts";

/** Names that `EmbeddingConfig.provider` may have. */
export const PROVIDERS = ["hashing", "openai", "cohere", "none"] as const;
export type ProviderName = (typeof PROVIDERS)[number];

/** Used where a configuration names no provider. */
export const DEFAULT_PROVIDER: ProviderName = "hashing";
export const MAX_DIMENSIONS = 16_384;
const HASHING_MODELS: readonly string[] = ["ngram-v1"];
const HASHING_DIMENSIONS = 256;
const REMOTE: readonly string[] = ["openai", "cohere"] satisfies RemoteName[];
const MAX_MODEL_LENGTH = 256;

type PlainConfig = Pick<EmbeddingConfig, "provider" | "model" | "dimensions">;

/**
 * The configuration with its defaults filled in: provider hashing; for hashing model ngram-v1 and 256 dimensions.
 * `none` has no default dimensions; its model is the client's own label. openai and cohere need both.
 * @throws ArrwError INVALID_ARGUMENT naming each wrong field under `embedding`
 */
export function completeEmbeddingConfig(config: PlainConfig | undefined): PlainConfig {
  const name = config?.provider || DEFAULT_PROVIDER;
  const provider = PROVIDERS.find((known) => known === name);
  const violations: Violation[] = [];
  if (!provider) {
    violations.push({
      field: "embedding.provider",
      description: `one of ${PROVIDERS.join(", ")}; got ${quoted(name)}`,
    });
  }
  const model = config?.model || (provider === "hashing" ? "ngram-v1" : "");
  if (provider === "hashing" && !HASHING_MODELS.includes(model)) {
    violations.push({
      field: "embedding.model",
      description: `one of ${HASHING_MODELS.join(", ")} for hashing; got ${quoted(model)}`,
    });
  } else if (model === "" && REMOTE.includes(name)) {
    violations.push({ field: "embedding.model", description: `needed for ${name}; got ""` });
  } else if (model.length > MAX_MODEL_LENGTH) {
    violations.push({
      field: "embedding.model",
      description: `at most ${MAX_MODEL_LENGTH} characters; got ${model.length}`,
    });
  }
  const dimensions = config?.dimensions || (provider === "hashing" ? HASHING_DIMENSIONS : 0);
  if (provider && !(Number.isInteger(dimensions) && dimensions >= 1 && dimensions <= MAX_DIMENSIONS)) {
    violations.push({
      field: "embedding.dimensions",
      description: `1..${MAX_DIMENSIONS}; got ${dimensions}`,
    });
  }
  if (violations.length > 0) throw invalidArgument(violations);
  return { provider: name, model, dimensions };
}

/**
 * Makes the provider that a library's configuration names; unset fields mean their defaults.
 * @param remote for openai and cohere @throws ArrwError INVALID_ARGUMENT naming each wrong field under `embedding`
 */
export function createProvider(
  config: PlainConfig,
  options: ProviderOptions = {},
  remote?: RemoteEmbedding,
): EmbeddingProvider {
  const { provider, model, dimensions } = completeEmbeddingConfig(config);
  if (provider === "none") return new NoProvider(dimensions);
  if (provider === "hashing") return new HashingProvider(dimensions);
  if (!remote) {
    const message = `this process has no settings for provider ${provider}`;
    throw new ArrwError("FAILED_PRECONDITION", message, { reason: "EMBEDDING_NOT_SET_UP" });
  }
  return remote.provider(provider as RemoteName, model, dimensions, options);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100));
}
