import { loadConfig } from "../../platform/config.ts";
import { EMBEDDING_SETTINGS } from "../../platform/embedding/remote-embedding.ts";
import { guardedExposure } from "../../platform/exposure.ts";
import { NATS_SETTINGS } from "../../platform/nats/access.ts";
import { TLS_SETTINGS } from "../../platform/tls.ts";

export type GatewayConfig = ReturnType<typeof loadGatewayConfig>;

/** @throws ConfigError */
export function loadGatewayConfig(env: NodeJS.ProcessEnv) {
  const config = loadConfig(
    [
      ...NATS_SETTINGS,
      "ARRW_NATS_REPLICAS",
      "ARRW_LOG_LEVEL",
      "ARRW_HOST",
      "ARRW_GATEWAY_GRPC_PORT",
      "ARRW_GATEWAY_HTTP_PORT",
      "ARRW_HTTP_IDLE_TIMEOUT_MS",
      "ARRW_HTTP_CORS_ORIGINS",
      "ARRW_SCHEDULER_ADDRESS",
      "ARRW_INDEX_ADDRESS",
      "ARRW_REQUEST_TIMEOUT_MS",
      "ARRW_JOURNAL_MAX_BYTES",
      "ARRW_OBJECTS_MAX_BYTES",
      "ARRW_LOGS_MAX_BYTES",
      "ARRW_RETENTION_MAX_AGE_MS",
      "ARRW_EMBEDDING_QUERY_TIMEOUT_MS",
      ...EMBEDDING_SETTINGS,
      ...TLS_SETTINGS,
      "ARRW_ALLOW_UNAUTHENTICATED",
      "ARRW_API_KEYS_FILE",
      "ARRW_JWKS_FILE",
      "ARRW_JWT_ISSUER",
      "ARRW_JWT_AUDIENCE",
      "ARRW_AUDIT_LOG_FILE",
      "ARRW_CLIENT_REQUESTS_PER_SECOND",
      "ARRW_CLIENT_MAX_REQUESTS",
      "ARRW_CLIENT_MAX_STREAMS",
    ],
    env,
  );
  return guardedExposure(config);
}
