import { Counter, Histogram, type Registry } from "../metrics.ts";

/** How a call to a provider ended. */
export type CallOutcome = "ok" | "rate_limited" | "unavailable" | "unauthorized" | "refused" | "invalid";

/** The labels have as many values as there are providers and outcomes; none comes from a client. */
export class EmbeddingMetrics {
  readonly calls: Counter<"provider" | "outcome">;
  readonly texts: Counter<"provider" | "source">;
  readonly seconds: Histogram<"provider">;
  readonly waits: Counter<"provider">;

  constructor(registry: Registry) {
    const registers = [registry];
    this.calls = new Counter({
      name: "arrw_embedding_calls_total",
      help: "Calls to embedding providers",
      labelNames: ["provider", "outcome"],
      registers,
    });
    this.texts = new Counter({
      name: "arrw_embedding_texts_total",
      help: "Texts embedded, by where their vector came from",
      labelNames: ["provider", "source"],
      registers,
    });
    this.seconds = new Histogram({
      name: "arrw_embedding_call_seconds",
      help: "Duration of calls to embedding providers, failed ones included",
      labelNames: ["provider"],
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    this.waits = new Counter({
      name: "arrw_embedding_waits_total",
      help: "Times that all calls to a provider had to wait because it was asked too much",
      labelNames: ["provider"],
      registers,
    });
  }
}
