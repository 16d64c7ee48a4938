import { z } from "zod";

/** Every setting of every service, in one table: name (with its unit), bounds, default, meaning. */

export interface Setting<T> {
  readonly schema: z.ZodType<T>;
  readonly fallback: T;
  readonly meaning: string;
  readonly secret: boolean;
}

const integer = (fallback: number, min: number, max: number, meaning: string): Setting<number> => ({
  schema: z.coerce.number().int().min(min).max(max),
  fallback,
  meaning: `${meaning} (${min}..${max})`,
  secret: false,
});

const text = (
  fallback: string,
  meaning: string,
  schema: z.ZodType<string> = z.string().min(1),
): Setting<string> => ({
  schema,
  fallback,
  meaning,
  secret: false,
});

const port = (fallback: number, meaning: string): Setting<number> =>
  integer(fallback, 0, 65_535, `${meaning}; 0 = a free port`);
const address = z.string().regex(/^[^\s:,]+:\d{1,5}$/, "expected host:port");
const MAX_ADDRESSES = 16;
const addresses = z
  .string()
  .regex(/^[^\s:,]+:\d{1,5}(,[^\s:,]+:\d{1,5})*$/, "expected host:port[,host:port...]")
  .refine((text) => text.split(",").length <= MAX_ADDRESSES, `at most ${MAX_ADDRESSES} addresses`);
const natsUrls = z.string().regex(/^(nats|tls):\/\/[^\s]+$/, "expected nats://host:port[,nats://...]");
/** Calls carry their key in a header: a URL with a name and a password in it is refused. */
const baseUrl = z
  .string()
  .regex(/^https?:\/\/[^\s@?#]+$/, "expected http[s]://host[:port][/path], without name or password");
const secret = (meaning: string): Setting<string> => ({ ...text("", meaning, z.string()), secret: true });
const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
const JOB_LOG_LEVELS = ["debug", "info", "warn", "error"] as const;

export const SETTINGS = {
  ARRW_NATS_URL: text(
    "nats://127.0.0.1:4222",
    "NATS servers, comma-separated; NATS_URL is an alias",
    natsUrls,
  ),
  ARRW_NATS_PORT: port(4_222, "nats-server that arrw up starts when ARRW_NATS_URL is not set"),
  ARRW_LOG_LEVEL: text("info", `one of ${LEVELS.join(", ")}`, z.enum(LEVELS)),
  ARRW_HOST: text("127.0.0.1", "address that every listener binds to"),
  ARRW_DATA_DIR: text("./data", "folder for everything on disk"),

  ARRW_TLS_CERT_FILE: text(
    "",
    "PEM certificate (with its chain) of the process's listeners, and of the process when it calls others; empty = no TLS",
    z.string(),
  ),
  ARRW_TLS_KEY_FILE: text("", "PEM key of that certificate", z.string()),
  ARRW_TLS_CLIENT_CA_FILE: text(
    "",
    "PEM authorities; clients must show a certificate of theirs (mTLS); empty = none is asked for",
    z.string(),
  ),
  ARRW_TLS_CA_FILE: text(
    "",
    "PEM authorities of the services that are called, which then is done over TLS; empty = without",
    z.string(),
  ),
  ARRW_ALLOW_UNAUTHENTICATED: text(
    "false",
    "true = bind beyond loopback although nobody has to prove who they are",
    z.enum(["false", "true"]),
  ),
  ARRW_API_KEYS_FILE: text("", "JSON file with hashes of API keys, written by arrw keys", z.string()),
  ARRW_JWKS_FILE: text("", "JSON Web Key Set; JWTs signed by its keys are accepted", z.string()),
  ARRW_JWT_ISSUER: text("", "iss that a JWT must have; empty = any", z.string()),
  ARRW_JWT_AUDIENCE: text("arrwdb", "aud that a JWT must have"),
  ARRW_AUDIT_LOG_FILE: text(
    "",
    "file to which a line for each mutating call is appended; empty = the gateway's log",
    z.string(),
  ),
  ARRW_CLIENT_REQUESTS_PER_SECOND: integer(
    5_000,
    0,
    1_000_000,
    "requests of one client a second, twice as many at once; 0 = no limit",
  ),
  ARRW_CLIENT_MAX_REQUESTS: integer(
    2_000,
    1,
    1_000_000,
    "requests that one client has under way, streams not counted",
  ),
  ARRW_CLIENT_MAX_STREAMS: integer(20_000, 1, 1_000_000, "streams that one client has open"),
  ARRW_HTTP_IDLE_TIMEOUT_MS: integer(
    60_000,
    1_000,
    3_600_000,
    "time after which a stream over HTTP is given up whose client neither reads nor sends",
  ),
  ARRW_HTTP_CORS_ORIGINS: text(
    "",
    "origins of web pages that may call the HTTP API, comma-separated; * = all; empty = its own alone",
    z.string(),
  ),
  ARRW_NATS_API_PREFIX: text(
    "$JS.API",
    "subject of JetStream's API, where the process's account has it imported under another name",
  ),
  ARRW_NATS_CREDS_FILE: text("", "credentials (JWT and seed) for NATS; empty = those of the URL", z.string()),
  ARRW_NATS_CA_FILE: text("", "PEM authorities of NATS servers; empty = the system's", z.string()),

  ARRW_GATEWAY_GRPC_PORT: port(50_051, "public gRPC API"),
  ARRW_GATEWAY_HTTP_PORT: port(8_000, "public HTTP API, with the gateway's /metrics, /healthz, /readyz"),
  ARRW_SCHEDULER_GRPC_PORT: port(50_052, "scheduler's gRPC"),
  ARRW_SCHEDULER_HTTP_PORT: port(9_102, "scheduler's /metrics, /healthz, /readyz"),
  ARRW_WORKER_HTTP_PORT: port(9_103, "worker's /metrics, /healthz, /readyz"),
  ARRW_INDEX_GRPC_PORT: port(50_054, "index service's gRPC"),
  ARRW_INDEX_HTTP_PORT: port(9_104, "index service's /metrics, /healthz, /readyz"),
  ARRW_SCHEDULER_ADDRESS: text(
    "127.0.0.1:50052",
    "where the gateway finds the schedulers, comma-separated; it follows the one that leads",
    addresses,
  ),
  ARRW_SCHEDULER_ADVERTISE_ADDRESS: text(
    "",
    "where gateways reach this scheduler, its own alone; empty = ARRW_HOST (this machine's name for 0.0.0.0) and its port",
    z.union([z.literal(""), address]),
  ),
  ARRW_INDEX_ADDRESS: text("127.0.0.1:50054", "where gateway, worker and scheduler find the index", address),

  ARRW_REQUEST_TIMEOUT_MS: integer(30_000, 100, 600_000, "deadline of calls whose client set none"),
  ARRW_WORKER_SLOTS: integer(4, 1, 10_000, "leases a worker runs side by side"),
  ARRW_DRAIN_TIMEOUT_MS: integer(10_000, 0, 3_600_000, "time a stopping worker gives its handlers"),
  ARRW_CANCEL_GRACE_MS: integer(30_000, 0, 3_600_000, "time a cancelled handler has before it is abandoned"),
  ARRW_IMPORT_BATCH_CHUNKS: integer(
    256,
    1,
    4_096,
    "chunks an import, or a regenerate, embeds and writes at a time",
  ),
  ARRW_EXPORT_RETENTION_MS: integer(
    86_400_000,
    1_000,
    31_536_000_000,
    "how long the files of exports are kept",
  ),
  ARRW_JOB_LOG_LEVEL: text(
    "info",
    `lines kept in jobs' logs, from this level on: one of ${JOB_LOG_LEVELS.join(", ")}`,
    z.enum(JOB_LOG_LEVELS),
  ),

  ARRW_OPENAI_BASE_URL: text(
    "https://api.openai.com",
    "where provider openai is: OpenAI, or a server that has its /v1/embeddings",
    baseUrl,
  ),
  ARRW_OPENAI_API_KEY: secret("key of provider openai; empty = none is sent"),
  ARRW_OPENAI_API_KEY_FILE: text(
    "",
    "file with that key, read again when it is refused; it wins over ARRW_OPENAI_API_KEY",
    z.string(),
  ),
  ARRW_COHERE_BASE_URL: text("https://api.cohere.com", "where provider cohere is", baseUrl),
  ARRW_COHERE_API_KEY: secret("key of provider cohere; empty = none is sent"),
  ARRW_COHERE_API_KEY_FILE: text(
    "",
    "file with that key, read again when it is refused; it wins over ARRW_COHERE_API_KEY",
    z.string(),
  ),
  ARRW_EMBEDDING_CONCURRENCY: integer(4, 1, 256, "calls a process has under way to a provider"),
  ARRW_EMBEDDING_BATCH_TEXTS: integer(96, 1, 2_048, "texts in a call to a provider at most (cohere: 96)"),
  ARRW_EMBEDDING_TIMEOUT_MS: integer(60_000, 100, 600_000, "time a provider has to answer a job's call"),
  ARRW_EMBEDDING_QUERY_TIMEOUT_MS: integer(
    5_000,
    100,
    600_000,
    "time a provider has to answer a search's call",
  ),
  ARRW_EMBEDDING_CACHE_BYTES: integer(
    33_554_432,
    0,
    17_179_869_184,
    "vectors from providers that a process remembers; 0 = none",
  ),

  ARRW_LEASE_TIMEOUT_MS: integer(6_000, 1_000, 600_000, "silence after which a worker counts as lost"),
  ARRW_JOURNAL_MAX_BYTES: integer(
    8_589_934_592,
    16_777_216,
    1_099_511_627_776,
    "bound of the journal on disk",
  ),
  ARRW_OBJECTS_MAX_BYTES: integer(
    17_179_869_184,
    16_777_216,
    1_099_511_627_776,
    "bound of payloads and results",
  ),
  ARRW_LOGS_MAX_BYTES: integer(
    268_435_456,
    1_048_576,
    1_099_511_627_776,
    "bound of all jobs' logs; the oldest lines give way",
  ),
  ARRW_NATS_REPLICAS: integer(1, 1, 5, "replicas of every stream"),
  ARRW_RETENTION_MAX_AGE_MS: integer(
    604_800_000,
    1_000,
    31_536_000_000,
    "age at which ended jobs are deleted",
  ),
  ARRW_RETENTION_MAX_JOBS: integer(1_000_000, 1, 100_000_000, "ended jobs kept at most"),
  ARRW_MAX_ACTIVE_JOBS: integer(
    1_000_000,
    1,
    100_000_000,
    "jobs not yet ended at most; above: RESOURCE_EXHAUSTED",
  ),

  ARRW_INDEX_SEARCH_THREADS: integer(1, 1, 64, "threads that own and search indexes"),
  ARRW_INDEX_MAX_OPEN_LIBRARIES: integer(
    200,
    1,
    10_000,
    "libraries held open; the least recently used are closed",
  ),
  ARRW_INDEX_VECTOR_CACHE_BYTES: integer(
    268_435_456,
    16_777_216,
    1_099_511_627_776,
    "vectors each search thread keeps in memory for exact search",
  ),
  ARRW_INDEX_SNAPSHOT_CHANGES: integer(20_000, 1, 10_000_000, "changes a restart replays at most"),
  ARRW_INDEX_WATCH_EVENTS: integer(
    100_000,
    1_000,
    10_000_000,
    "newest events that each library keeps for WatchLibrary",
  ),
  ARRW_INDEX_GENERATION_RETENTION_MS: integer(
    86_400_000,
    1_000,
    31_536_000_000,
    "time that the index before a swap is kept for a rollback",
  ),
  ARRW_INDEX_MEMORY_LIMIT_BYTES: integer(
    0,
    0,
    1_099_511_627_776,
    "memory of loaded indexes; a build that would exceed it is refused; 0 = three quarters of what there is",
  ),
} as const satisfies Record<string, Setting<number> | Setting<string>>;
