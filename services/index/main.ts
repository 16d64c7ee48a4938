import { join, resolve } from "node:path";
import { GrpcServer } from "../../platform/grpc/server.ts";
import { runProcess } from "../../platform/lifecycle.ts";
import { createRegistry, ProbeListener } from "../../platform/metrics.ts";
import { begin, orExit } from "../../platform/startup.ts";
import { Tls } from "../../platform/tls.ts";
import { buildService } from "./builds-rpc.ts";
import { changeService } from "./changes-rpc.ts";
import { loadIndexConfig } from "./config.ts";
import { embeddingService } from "./embeddings-rpc.ts";
import { exportService } from "./exports-rpc.ts";
import { IndexMetrics } from "./index-metrics.ts";
import { Libraries } from "./libraries.ts";
import { indexService } from "./rpc.ts";
import { VectorPool } from "./vector-pool.ts";

const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;

const { config, log } = begin("index", loadIndexConfig);
const registry = createRegistry("index");
const tls = orExit(log, () => new Tls({ settings: config, log, registry }));
const pool = new VectorPool({
  threads: config.ARRW_INDEX_SEARCH_THREADS,
  cacheBytes: config.ARRW_INDEX_VECTOR_CACHE_BYTES,
  log,
  onDeath: (error) => {
    // What is acknowledged is on the disk; a new process picks up there.
    log.fatal({ err: error }, "a vector thread died");
    process.exit(1);
  },
});
const libraries = new Libraries({
  folder: resolve(join(config.ARRW_DATA_DIR, "index")),
  pool,
  log,
  maxOpen: config.ARRW_INDEX_MAX_OPEN_LIBRARIES,
  snapshotChanges: config.ARRW_INDEX_SNAPSHOT_CHANGES,
  watchEvents: config.ARRW_INDEX_WATCH_EVENTS,
  generationRetentionMs: config.ARRW_INDEX_GENERATION_RETENTION_MS,
  memoryLimitBytes: config.ARRW_INDEX_MEMORY_LIMIT_BYTES,
});
const metrics = new IndexMetrics(registry, libraries);
const server = new GrpcServer({
  host: config.ARRW_HOST,
  port: config.ARRW_INDEX_GRPC_PORT,
  services: [
    indexService(libraries, metrics),
    buildService(libraries),
    embeddingService(libraries, registry),
    changeService(libraries, metrics),
    exportService(libraries),
  ],
  log,
  registry,
  maxReceiveBytes: MAX_RECEIVE_BYTES,
  defaultTimeoutMs: config.ARRW_REQUEST_TIMEOUT_MS,
  tls,
});
const probes = new ProbeListener({
  host: config.ARRW_HOST,
  port: config.ARRW_INDEX_HTTP_PORT,
  registry,
  checks: { libraries: () => libraries.unready },
  tls,
});
await runProcess([tls, probes, pool, libraries, server], log);
