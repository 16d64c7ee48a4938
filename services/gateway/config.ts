import { loadConfig } from "../../platform/config.ts";
import { EMBEDDING_SETTINGS } from "../../platform/embedding/remote-embedding.ts";

export type GatewayConfig = ReturnType<typeof loadGatewayConfig>;

/** @throws ConfigError */
export function loadGatewayConfig(env: NodeJS.ProcessEnv) {
  return loadConfig(
    [
      "ARRW_NATS_URL",
      "ARRW_NATS_REPLICAS",
      "ARRW_LOG_LEVEL",
      "ARRW_HOST",
      "ARRW_GATEWAY_GRPC_PORT",
      "ARRW_GATEWAY_HTTP_PORT",
      "ARRW_SCHEDULER_ADDRESS",
      "ARRW_INDEX_ADDRESS",
      "ARRW_REQUEST_TIMEOUT_MS",
      "ARRW_JOURNAL_MAX_BYTES",
      "ARRW_OBJECTS_MAX_BYTES",
      "ARRW_LOGS_MAX_BYTES",
      "ARRW_RETENTION_MAX_AGE_MS",
      "ARRW_EMBEDDING_QUERY_TIMEOUT_MS",
      ...EMBEDDING_SETTINGS,
    ],
    env,
  );
}
