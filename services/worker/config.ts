import { loadConfig, type Settings } from "../../platform/config.ts";
import { EMBEDDING_SETTINGS } from "../../platform/embedding/remote-embedding.ts";
import { NATS_SETTINGS } from "../../platform/nats/access.ts";
import { TLS_SETTINGS } from "../../platform/tls.ts";

const NAMES = [
  ...NATS_SETTINGS,
  "ARRW_LOG_LEVEL",
  "ARRW_HOST",
  "ARRW_WORKER_HTTP_PORT",
  "ARRW_INDEX_ADDRESS",
  "ARRW_WORKER_SLOTS",
  "ARRW_DRAIN_TIMEOUT_MS",
  "ARRW_CANCEL_GRACE_MS",
  "ARRW_IMPORT_BATCH_CHUNKS",
  "ARRW_EMBEDDING_TIMEOUT_MS",
  ...EMBEDDING_SETTINGS,
  "ARRW_EXPORT_RETENTION_MS",
  "ARRW_JOB_LOG_LEVEL",
  ...TLS_SETTINGS,
] as const;

export type WorkerConfig = Settings<(typeof NAMES)[number]>;

/** The worker's settings. @throws ConfigError */
export function loadWorkerConfig(env: NodeJS.ProcessEnv): WorkerConfig {
  return loadConfig(NAMES, env);
}
