import { createProvider } from "../../platform/embedding/create-provider.ts";
import { queryPatience, RemoteEmbedding } from "../../platform/embedding/remote-embedding.ts";
import { ArrwError } from "../../platform/errors.ts";
import { isLoopback } from "../../platform/exposure.ts";
import { healthService } from "../../platform/grpc/health.ts";
import { GrpcServer, implement } from "../../platform/grpc/server.ts";
import { type Part, part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { createRegistry } from "../../platform/metrics.ts";
import { natsAccess } from "../../platform/nats/access.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { JetStreamObjects } from "../../platform/nats/objects.ts";
import { ensureStreams } from "../../platform/nats/streams.ts";
import { Tls } from "../../platform/tls.ts";
import { LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";
import { admission } from "./access/admission.ts";
import { createGuard } from "./access/create-guard.ts";
import type { Api } from "./api.ts";
import type { GatewayConfig } from "./config.ts";
import { Downloads } from "./downloads.ts";
import { HttpListener } from "./http/door.ts";
import { IndexClient } from "./index-client.ts";
import { JobItems } from "./job-items.ts";
import { JobWatches } from "./job-watches.ts";
import { jobHandlers } from "./jobs-rpc.ts";
import { JournalFeed } from "./journal-feed.ts";
import { libraryHandlers } from "./libraries-rpc.ts";
import { Logs } from "./logs.ts";
import { publicError } from "./public-error.ts";
import { queueHandlers } from "./queues-rpc.ts";
import { ReceivingJobService } from "./received.ts";
import { reflectionServices } from "./reflection.ts";
import { SchedulerClient } from "./scheduler-client.ts";
import { Spool } from "./spool.ts";
import { Watches } from "./watches.ts";

const JOB_SERVICE = "arrwdb.v1.JobService";
const LIBRARY_SERVICE = "arrwdb.v1.LibraryService";
const QUEUE_SERVICE = "arrwdb.v1.QueueService";
const SHOWN_SERVICES = [JOB_SERVICE, LIBRARY_SERVICE, QUEUE_SERVICE, "grpc.health.v1.Health"];
const MAX_MESSAGE_BYTES = 8 * 1024 * 1024;

export interface Gateway {
  /** In the order in which they start. */
  readonly parts: readonly Part[];
  readonly server: GrpcServer;
  readonly http: HttpListener;
}

/** The gateway's parts, wired. */
export function createGateway(config: GatewayConfig, log: Logger): Gateway {
  const registry = createRegistry("gateway");
  const tls = new Tls({ settings: config, log, registry });
  const nats = new Nats({ ...natsAccess(config), name: "arrw-gateway", log, registry });
  const scheduler = new SchedulerClient(config.ARRW_SCHEDULER_ADDRESS, tls);
  const index = new IndexClient(config.ARRW_INDEX_ADDRESS, tls);
  const remote = new RemoteEmbedding({
    settings: config,
    patience: queryPatience(config.ARRW_EMBEDDING_QUERY_TIMEOUT_MS),
    log,
    registry,
  });
  const objects = new JetStreamObjects(nats);
  const spool = new Spool(objects, log);
  const items = new JobItems({ scheduler, nats });
  const downloads = new Downloads({ scheduler, objects });
  const feed = new JournalFeed({ nats, log });
  const watches = new Watches({ nats, feed, scheduler, log, registry });
  const jobWatches = new JobWatches({ nats, feed, log, registry });
  const logs = new Logs({ nats, scheduler, watches, registry });
  const streams = part(
    "streams",
    () =>
      ensureStreams(nats, {
        journalMaxBytes: config.ARRW_JOURNAL_MAX_BYTES,
        objectsMaxBytes: config.ARRW_OBJECTS_MAX_BYTES,
        logsMaxBytes: config.ARRW_LOGS_MAX_BYTES,
        logsMaxAgeMs: config.ARRW_RETENTION_MAX_AGE_MS,
        replicas: config.ARRW_NATS_REPLICAS,
      }),
    async () => undefined,
  );
  const checks = {
    nats: () => nats.unready(),
    scheduler: () => scheduler.unready(),
    index: () => index.unready(),
  };
  const { guard, parts: guardParts } = createGuard(config, log, registry);
  const jobs = jobHandlers({ scheduler, index, spool, watches, logs, jobWatches, downloads, items });
  const libraries = libraryHandlers(index, (embedding, options) =>
    createProvider(embedding, options, remote),
  );
  const api: Api = {
    jobs: guard.wrap(ReceivingJobService, jobs),
    libraries: guard.wrap(LibraryServiceService, libraries),
    queues: guard.wrap(QueueServiceService, queueHandlers(scheduler)),
  };
  const server = new GrpcServer({
    host: config.ARRW_HOST,
    port: config.ARRW_GATEWAY_GRPC_PORT,
    services: [
      implement(ReceivingJobService, api.jobs),
      implement(LibraryServiceService, api.libraries),
      implement(QueueServiceService, api.queues),
      healthService({
        [JOB_SERVICE]: [checks.nats, checks.scheduler],
        [LIBRARY_SERVICE]: [checks.index],
        [QUEUE_SERVICE]: [checks.scheduler],
      }),
      ...reflectionServices(SHOWN_SERVICES),
    ],
    log,
    registry,
    maxReceiveBytes: MAX_MESSAGE_BYTES,
    tooLargeHint:
      "stream documents of at most 4,000,000 bytes each with ImportDocuments, or split the request into several calls",
    defaultTimeoutMs: config.ARRW_REQUEST_TIMEOUT_MS,
    tls,
    complete: publicError,
    admit: admission(guard, [ReceivingJobService, LibraryServiceService, QueueServiceService]),
  });
  const http = new HttpListener({
    host: config.ARRW_HOST,
    port: config.ARRW_GATEWAY_HTTP_PORT,
    api,
    log,
    registry,
    checks,
    defaultTimeoutMs: config.ARRW_REQUEST_TIMEOUT_MS,
    idleTimeoutMs: config.ARRW_HTTP_IDLE_TIMEOUT_MS,
    origins: config.ARRW_HTTP_CORS_ORIGINS,
    localOnly: isLoopback(config.ARRW_HOST) && !guard.authenticates && config.ARRW_TLS_CLIENT_CA_FILE === "",
    authenticate: async (caller, rpc) => guard.authenticate(caller, rpc),
    // They count what all clients do.
    mayReadMetrics: async (call) => {
      const { libraries: confined } = await guard.authenticate(call);
      if (confined) throw new ArrwError("PERMISSION_DENIED", "only for who is not confined to libraries");
    },
    tls,
  });
  return {
    parts: [
      tls,
      ...guardParts,
      http,
      scheduler,
      index,
      nats,
      streams,
      feed,
      watches,
      jobWatches,
      logs,
      server,
      http.door,
    ],
    server,
    http,
  };
}
