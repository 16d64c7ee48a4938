import { hostname } from "node:os";
import { loadConfig } from "../../platform/config.ts";
import { guardedExposure } from "../../platform/exposure.ts";
import { NATS_SETTINGS } from "../../platform/nats/access.ts";
import { TLS_SETTINGS } from "../../platform/tls.ts";

export type SchedulerConfig = ReturnType<typeof loadSchedulerConfig>;

/** What the scheduler takes from the environment. @throws ConfigError */
export function loadSchedulerConfig(env: NodeJS.ProcessEnv) {
  const config = loadConfig(
    [
      ...NATS_SETTINGS,
      "ARRW_NATS_REPLICAS",
      "ARRW_LOG_LEVEL",
      "ARRW_HOST",
      "ARRW_DATA_DIR",
      "ARRW_SCHEDULER_GRPC_PORT",
      "ARRW_SCHEDULER_HTTP_PORT",
      "ARRW_SCHEDULER_ADVERTISE_ADDRESS",
      "ARRW_INDEX_ADDRESS",
      "ARRW_REQUEST_TIMEOUT_MS",
      "ARRW_LEASE_TIMEOUT_MS",
      "ARRW_JOURNAL_MAX_BYTES",
      "ARRW_OBJECTS_MAX_BYTES",
      "ARRW_LOGS_MAX_BYTES",
      "ARRW_RETENTION_MAX_AGE_MS",
      "ARRW_RETENTION_MAX_JOBS",
      "ARRW_MAX_ACTIVE_JOBS",
      ...TLS_SETTINGS,
      "ARRW_ALLOW_UNAUTHENTICATED",
    ],
    env,
  );
  return guardedExposure(config);
}

/** Every address of the machine: nobody else can connect to these. */
const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/** host:port under which gateways reach this process: what a standby names as the leader's. */
export function advertisedAddress(
  config: Pick<
    SchedulerConfig,
    "ARRW_SCHEDULER_ADVERTISE_ADDRESS" | "ARRW_HOST" | "ARRW_SCHEDULER_GRPC_PORT"
  >,
): string {
  if (config.ARRW_SCHEDULER_ADVERTISE_ADDRESS !== "") return config.ARRW_SCHEDULER_ADVERTISE_ADDRESS;
  const host = ANY_ADDRESS.has(config.ARRW_HOST) ? hostname() : config.ARRW_HOST;
  return `${host}:${config.ARRW_SCHEDULER_GRPC_PORT}`;
}
