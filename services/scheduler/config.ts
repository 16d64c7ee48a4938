import { loadConfig } from "../../platform/config.ts";

/** What the scheduler takes from the environment. */
export function loadSchedulerConfig(env: NodeJS.ProcessEnv) {
  return loadConfig(
    [
      "ARRW_NATS_URL",
      "ARRW_NATS_REPLICAS",
      "ARRW_LOG_LEVEL",
      "ARRW_HOST",
      "ARRW_DATA_DIR",
      "ARRW_SCHEDULER_GRPC_PORT",
      "ARRW_SCHEDULER_HTTP_PORT",
      "ARRW_INDEX_ADDRESS",
      "ARRW_REQUEST_TIMEOUT_MS",
      "ARRW_LEASE_TIMEOUT_MS",
      "ARRW_JOURNAL_MAX_BYTES",
      "ARRW_OBJECTS_MAX_BYTES",
      "ARRW_LOGS_MAX_BYTES",
      "ARRW_RETENTION_MAX_AGE_MS",
      "ARRW_RETENTION_MAX_JOBS",
      "ARRW_MAX_ACTIVE_JOBS",
    ],
    env,
  );
}
