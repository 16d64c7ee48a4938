import { loadConfig, type Settings } from "../../platform/config.ts";
import { guardedExposure } from "../../platform/exposure.ts";
import { TLS_SETTINGS } from "../../platform/tls.ts";

const NAMES = [
  "ARRW_LOG_LEVEL",
  "ARRW_HOST",
  "ARRW_DATA_DIR",
  "ARRW_INDEX_GRPC_PORT",
  "ARRW_INDEX_HTTP_PORT",
  "ARRW_REQUEST_TIMEOUT_MS",
  "ARRW_INDEX_SEARCH_THREADS",
  "ARRW_INDEX_MAX_OPEN_LIBRARIES",
  "ARRW_INDEX_VECTOR_CACHE_BYTES",
  "ARRW_INDEX_SNAPSHOT_CHANGES",
  "ARRW_INDEX_WATCH_EVENTS",
  "ARRW_INDEX_GENERATION_RETENTION_MS",
  "ARRW_INDEX_MEMORY_LIMIT_BYTES",
  ...TLS_SETTINGS,
  "ARRW_ALLOW_UNAUTHENTICATED",
] as const;

export type IndexConfig = Settings<(typeof NAMES)[number]>;

/** @throws ConfigError */
export function loadIndexConfig(env: NodeJS.ProcessEnv): IndexConfig {
  return guardedExposure(loadConfig(NAMES, env));
}
