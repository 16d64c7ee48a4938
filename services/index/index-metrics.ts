import { Counter, Gauge, Histogram, type Registry } from "../../platform/metrics.ts";
import type { Libraries } from "./libraries.ts";

const BUILD_BUCKETS = [0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3_600, 14_400];
const BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** The index service's own metrics; none has a label per library. */
export class IndexMetrics {
  readonly search: Histogram<"mode">;
  readonly upsert: Histogram;
  readonly fenced: Counter;
  readonly watchStreams: Gauge;

  constructor(registry: Registry, libraries: Libraries) {
    const registers = [registry];
    this.search = new Histogram({
      name: "arrw_index_search_seconds",
      help: "Duration of searches",
      labelNames: ["mode"],
      buckets: BUCKETS,
      registers,
    });
    this.upsert = new Histogram({
      name: "arrw_index_upsert_seconds",
      help: "Duration of upserts until they are on the disk, waiting for a lagging index included",
      buckets: BUCKETS,
      registers,
    });
    this.fenced = new Counter({
      name: "arrw_index_fenced_total",
      help: "Calls refused because of their lease",
      registers,
    });
    this.watchStreams = new Gauge({
      name: "arrw_index_watch_streams",
      help: "WatchChanges streams now",
      registers,
    });
    const builds = new Counter({
      name: "arrw_index_builds_total",
      help: "Builds of generations that ended",
      labelNames: ["kind", "outcome"],
      registers,
    });
    const buildSeconds = new Histogram({
      name: "arrw_index_build_seconds",
      help: "Duration of builds from their start to their end",
      labelNames: ["kind"],
      buckets: BUILD_BUCKETS,
      registers,
    });
    const buildRecall = new Gauge({
      name: "arrw_index_build_recall",
      help: "Recall@10 of the last build that was measured, on its sample",
      registers,
    });
    libraries.onBuildEnded(({ kind, outcome, seconds, recall }) => {
      builds.inc({ kind, outcome });
      if (outcome !== "not_needed") buildSeconds.observe({ kind }, seconds);
      if (recall !== undefined) buildRecall.set(recall);
    });
    const gauge = (name: string, help: string, value: (totals: Libraries["totals"]) => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(value(libraries.totals));
        },
      });
    };
    gauge("arrw_index_open_libraries", "Libraries open now", ({ open }) => open);
    gauge("arrw_index_documents", "Documents in open libraries", ({ documents }) => documents);
    gauge("arrw_index_chunks", "Chunks in open libraries", ({ chunks }) => chunks);
    gauge("arrw_index_vectors", "Vectors in loaded indexes", ({ vectors }) => vectors);
    gauge("arrw_index_behind", "Vectors stored that no index has yet", ({ behind }) => behind);
    gauge("arrw_index_memory_bytes", "Memory of indexes and builds", ({ memoryBytes }) => memoryBytes);
    gauge("arrw_index_builds_running", "Generations being built", ({ builds: running }) => running);
  }
}
