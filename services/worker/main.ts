import { createProvider } from "../../platform/embedding/create-provider.ts";
import type { CreateProvider } from "../../platform/embedding/provider.ts";
import { jobPatience, RemoteEmbedding } from "../../platform/embedding/remote-embedding.ts";
import { connect } from "../../platform/grpc/client.ts";
import { part, runProcess } from "../../platform/lifecycle.ts";
import { createRegistry, ProbeListener } from "../../platform/metrics.ts";
import { natsAccess } from "../../platform/nats/access.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { JetStreamObjects } from "../../platform/nats/objects.ts";
import { begin, orExit } from "../../platform/startup.ts";
import { Tls } from "../../platform/tls.ts";
import { BuildServiceClient } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { ExportServiceClient } from "../../proto/gen/arrwdb/index/v1/exports.ts";
import { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { loadWorkerConfig } from "./config.ts";
import { logLevelOf } from "./domain/log-line.ts";
import { BatchDelete } from "./handlers/batch-delete.ts";
import { BatchExport } from "./handlers/batch-export.ts";
import { BatchImport } from "./handlers/batch-import.ts";
import { echo } from "./handlers/echo.ts";
import { IndexOptimize } from "./handlers/index-optimize.ts";
import { IndexRebuild } from "./handlers/index-rebuild.ts";
import { RegenerateEmbeddings } from "./handlers/regenerate-embeddings.ts";
import { HandlerRegistry } from "./registry.ts";
import { Worker } from "./worker.ts";

const { config, log } = begin("worker", loadWorkerConfig);

const registry = createRegistry("worker");
const tls = orExit(log, () => new Tls({ settings: config, log, registry }));
const access = orExit(log, () => natsAccess(config));
const nats = new Nats({ ...access, name: "arrw-worker", log, registry });
const index = connect(IndexServiceClient, config.ARRW_INDEX_ADDRESS, { tls });
const remote = new RemoteEmbedding({
  settings: config,
  patience: jobPatience(config.ARRW_EMBEDDING_TIMEOUT_MS),
  log,
  registry,
});
const createEmbedding: CreateProvider = (embedding, options) => createProvider(embedding, options, remote);
const handlers = new HandlerRegistry().add(echo).add(
  new BatchImport({
    index,
    objects: new JetStreamObjects(nats),
    nats,
    createProvider: createEmbedding,
    batchChunks: config.ARRW_IMPORT_BATCH_CHUNKS,
  }),
);
handlers.add(new BatchDelete({ index, objects: new JetStreamObjects(nats), nats }));
const builds = connect(BuildServiceClient, config.ARRW_INDEX_ADDRESS, {
  channelOverride: index.getChannel(),
});
handlers
  .add(new IndexRebuild(builds))
  .add(new IndexOptimize(builds))
  .add(
    new RegenerateEmbeddings({
      builds,
      createProvider: createEmbedding,
      batchChunks: config.ARRW_IMPORT_BATCH_CHUNKS,
    }),
  );
handlers.add(
  new BatchExport({
    exports: connect(ExportServiceClient, config.ARRW_INDEX_ADDRESS, {
      channelOverride: index.getChannel(),
    }),
    objects: new JetStreamObjects(nats),
    retentionMs: config.ARRW_EXPORT_RETENTION_MS,
  }),
);
const worker = new Worker({
  natsAccess: access,
  logLevel: config.ARRW_LOG_LEVEL,
  jobLogLevel: logLevelOf(config.ARRW_JOB_LOG_LEVEL),
  slots: config.ARRW_WORKER_SLOTS,
  drainTimeoutMs: config.ARRW_DRAIN_TIMEOUT_MS,
  cancelGraceMs: config.ARRW_CANCEL_GRACE_MS,
  nats,
  index,
  handlers,
  log,
  registry,
  onDied: (error) => {
    log.fatal({ err: error }, "the heartbeat thread died");
    process.exit(1);
  },
});
const probes = new ProbeListener({
  host: config.ARRW_HOST,
  port: config.ARRW_WORKER_HTTP_PORT,
  registry,
  checks: { nats: () => nats.unready(), scheduler: () => worker.unready() },
  tls,
});
const indexChannel = part(
  "index channel",
  async () => undefined,
  async () => index.close(),
);

await runProcess([tls, probes, indexChannel, nats, worker], log);
