import { join } from "node:path";
import { systemClock } from "../../platform/clock.ts";
import { connect, unary } from "../../platform/grpc/client.ts";
import { GrpcServer } from "../../platform/grpc/server.ts";
import { part, runProcess } from "../../platform/lifecycle.ts";
import { createRegistry, ProbeListener } from "../../platform/metrics.ts";
import { natsAccess } from "../../platform/nats/access.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { objectRemovals } from "../../platform/nats/object-removal.ts";
import { JetStreamObjects } from "../../platform/nats/objects.ts";
import { ensureStreams } from "../../platform/nats/streams.ts";
import { begin, orExit } from "../../platform/startup.ts";
import { Tls } from "../../platform/tls.ts";
import { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { advertisedAddress, loadSchedulerConfig } from "./config.ts";
import { Leader } from "./leader.ts";
import { SchedulerMetrics } from "./metrics.ts";
import { schedulerService } from "./rpc.ts";
import { openFiles } from "./takeover.ts";

const END_LEASE_TIMEOUT_MS = 5_000;
const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;

const { config, log } = begin("scheduler", loadSchedulerConfig);

const registry = createRegistry("scheduler");
const tls = orExit(log, () => new Tls({ settings: config, log, registry }));
const nats = new Nats({ ...orExit(log, () => natsAccess(config)), name: "arrw-scheduler", log, registry });
const index = connect(IndexServiceClient, config.ARRW_INDEX_ADDRESS, { tls });
const storePath = join(config.ARRW_DATA_DIR, "scheduler", `store-${config.ARRW_SCHEDULER_GRPC_PORT}`);
const metrics = new SchedulerMetrics(registry, () => leader.current());
const leader: Leader = new Leader({
  nats,
  clock: systemClock,
  random: Math.random,
  objects: new JetStreamObjects(nats),
  log,
  metrics,
  replicas: config.ARRW_NATS_REPLICAS,
  openStore: () => openFiles(storePath, log),
  address: advertisedAddress(config),
  leaseTimeoutMs: config.ARRW_LEASE_TIMEOUT_MS,
  limits: {
    maxAgeMs: config.ARRW_RETENTION_MAX_AGE_MS,
    maxJobs: config.ARRW_RETENTION_MAX_JOBS,
    journalMaxBytes: config.ARRW_JOURNAL_MAX_BYTES,
  },
  closeFence: async (libraryId, jobId, lease) => {
    const request = { libraryId, fence: { jobId, lease } };
    await unary(index, index.endLease, request, { timeoutMs: END_LEASE_TIMEOUT_MS });
  },
});
const probes = new ProbeListener({
  host: config.ARRW_HOST,
  port: config.ARRW_SCHEDULER_HTTP_PORT,
  registry,
  checks: { nats: () => nats.unready(), leader: () => leader.unready() },
  tls,
});
const server = new GrpcServer({
  host: config.ARRW_HOST,
  port: config.ARRW_SCHEDULER_GRPC_PORT,
  services: [schedulerService(leader, config.ARRW_MAX_ACTIVE_JOBS)],
  log,
  registry,
  maxReceiveBytes: MAX_RECEIVE_BYTES,
  defaultTimeoutMs: config.ARRW_REQUEST_TIMEOUT_MS,
  tls,
});
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
const indexChannel = part(
  "index channel",
  async () => undefined,
  async () => index.close(),
);

// The port is bound before leadership is asked for: an earlier process at this address is then known to be gone.
await runProcess([tls, probes, indexChannel, nats, streams, objectRemovals(nats, log), server, leader], log);
