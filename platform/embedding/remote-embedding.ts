import type { SettingName, Settings } from "../config.ts";
import type { Logger } from "../log.ts";
import type { Registry } from "../metrics.ts";
import { ApiKey } from "./api-key.ts";
import { CallLimiter } from "./call-limiter.ts";
import { cohere } from "./cohere.ts";
import { EmbeddingMetrics } from "./embedding-metrics.ts";
import { openai } from "./openai.ts";
import type { EmbeddingProvider, ProviderOptions } from "./provider.ts";
import { type Patience, RemoteCalls } from "./remote-calls.ts";
import { RemoteProvider } from "./remote-provider.ts";
import { VectorMemory } from "./vector-memory.ts";

/** What a process reads that embeds with providers over HTTP. */
export const EMBEDDING_SETTINGS = [
  "ARRW_OPENAI_BASE_URL",
  "ARRW_OPENAI_API_KEY",
  "ARRW_OPENAI_API_KEY_FILE",
  "ARRW_COHERE_BASE_URL",
  "ARRW_COHERE_API_KEY",
  "ARRW_COHERE_API_KEY_FILE",
  "ARRW_EMBEDDING_CONCURRENCY",
  "ARRW_EMBEDDING_BATCH_TEXTS",
  "ARRW_EMBEDDING_CACHE_BYTES",
] as const satisfies readonly SettingName[];

export type EmbeddingSettings = Settings<(typeof EMBEDDING_SETTINGS)[number]>;
export type RemoteName = "openai" | "cohere";

export interface RemoteEmbeddingOptions {
  readonly settings: EmbeddingSettings;
  readonly patience: Patience;
  readonly log: Logger;
  /** None = nothing is measured. */
  readonly registry?: Registry;
}

/** For jobs: they have time, and give their slot back when a provider has none for longer. */
export function jobPatience(timeoutMs: number): Patience {
  return { timeoutMs, unavailableMs: 20_000, rateLimitedMs: 300_000 };
}

/** For queries: somebody waits. */
export function queryPatience(timeoutMs: number): Patience {
  return { timeoutMs, unavailableMs: timeoutMs, rateLimitedMs: timeoutMs };
}

/** The providers over HTTP of one process: their models share connections, limits and what is remembered. */
export class RemoteEmbedding {
  readonly #settings: EmbeddingSettings;
  readonly #memory: VectorMemory;
  readonly #calls: Readonly<Record<RemoteName, RemoteCalls>>;

  constructor({ settings, patience, log, registry }: RemoteEmbeddingOptions) {
    this.#settings = settings;
    this.#memory = new VectorMemory(settings.ARRW_EMBEDDING_CACHE_BYTES);
    const metrics = registry && new EmbeddingMetrics(registry);
    const concurrency = settings.ARRW_EMBEDDING_CONCURRENCY;
    const shared = { patience, metrics, log };
    this.#calls = {
      openai: new RemoteCalls({
        ...shared,
        protocol: openai,
        baseUrl: settings.ARRW_OPENAI_BASE_URL,
        baseUrlSetting: "ARRW_OPENAI_BASE_URL",
        limiter: new CallLimiter(concurrency),
        key: new ApiKey({
          setting: "ARRW_OPENAI_API_KEY",
          value: settings.ARRW_OPENAI_API_KEY,
          file: settings.ARRW_OPENAI_API_KEY_FILE,
        }),
      }),
      cohere: new RemoteCalls({
        ...shared,
        protocol: cohere,
        baseUrl: settings.ARRW_COHERE_BASE_URL,
        baseUrlSetting: "ARRW_COHERE_BASE_URL",
        limiter: new CallLimiter(concurrency),
        key: new ApiKey({
          setting: "ARRW_COHERE_API_KEY",
          value: settings.ARRW_COHERE_API_KEY,
          file: settings.ARRW_COHERE_API_KEY_FILE,
        }),
      }),
    };
  }

  provider(
    name: RemoteName,
    model: string,
    dimensions: number,
    { anew = false }: ProviderOptions = {},
  ): EmbeddingProvider {
    return new RemoteProvider({
      calls: this.#calls[name],
      model,
      dimensions,
      memory: anew ? new VectorMemory(this.#settings.ARRW_EMBEDDING_CACHE_BYTES) : this.#memory,
      batchTexts: this.#settings.ARRW_EMBEDDING_BATCH_TEXTS,
    });
  }
}
