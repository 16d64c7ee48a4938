import { closest, distance } from "fastest-levenshtein";
import { z } from "zod";

/**
 * Every setting of every service, in one table: name (with its unit), bounds, default, meaning. A process takes
 * what it needs with `loadConfig`; all of them may stand in the environment of all processes.
 */

interface Setting<T> {
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

  ARRW_GATEWAY_GRPC_PORT: port(50_051, "public gRPC API"),
  ARRW_GATEWAY_HTTP_PORT: port(8_000, "gateway's /metrics, /healthz, /readyz"),
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

export type SettingName = keyof typeof SETTINGS;
type ValueOf<K extends SettingName> = (typeof SETTINGS)[K] extends Setting<number> ? number : string;
export type Settings<K extends SettingName> = { readonly [N in K]: ValueOf<N> };

/** A message names the key, what it takes and what it got. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.name = "ConfigError";
  }
}

/**
 * Takes the named settings from the environment.
 * @throws ConfigError naming every value out of bounds and every unknown `ARRW_*` name, with the nearest known one.
 */
export function loadConfig<K extends SettingName>(names: readonly K[], env: NodeJS.ProcessEnv): Settings<K> {
  const known = Object.keys(SETTINGS) as SettingName[];
  const problems = Object.keys(env)
    .filter((name) => name.startsWith("ARRW_") && !PRIVATE.has(name) && !(name in SETTINGS))
    .map((name) => unknownName(name, known));
  const values: Record<string, number | string> = {};
  for (const name of names) {
    const setting: Setting<number> | Setting<string> = SETTINGS[name];
    const raw = env[name] ?? (name === "ARRW_NATS_URL" ? env.NATS_URL : undefined);
    const parsed = raw === undefined ? undefined : setting.schema.safeParse(raw);
    if (parsed && !parsed.success) {
      const reason = parsed.error.issues.map((issue) => issue.message).join(", ");
      problems.push(`${name}: ${setting.meaning}; got ${shown(raw, setting.secret)} (${reason})`);
    }
    values[name] = parsed?.success ? parsed.data : setting.fallback;
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return values as Settings<K>;
}

/** Names that the launcher and the tests read themselves. */
const PRIVATE: ReadonlySet<string> = new Set(["ARRW_ADDRESS"]);

function unknownName(name: string, known: readonly string[]): string {
  const nearest = closest(name, known);
  return distance(name, nearest) <= name.length / 2
    ? `${name}: no such setting; did you mean ${nearest}?`
    : `${name}: no such setting`;
}

function shown(raw: string | undefined, isSecret: boolean): string {
  return isSecret ? "***" : JSON.stringify(raw?.replace(CREDENTIALS, "//***@").replace(QUERY, "?***"));
}

/** Some put their key there. */
const QUERY = /\?\S*/g;
const CREDENTIALS = /\/\/[^@/\s]+@/g;

/** The settings as a start-up log shows them: no secrets. */
export function redacted(
  settings: Readonly<Record<string, number | string>>,
): Record<string, number | string> {
  const shown = Object.entries(settings).map(([name, value]) => {
    const secret = (SETTINGS as Record<string, Setting<number> | Setting<string>>)[name]?.secret ?? false;
    const safe = typeof value === "string" ? value.replace(CREDENTIALS, "//***@") : value;
    return [name, secret ? "***" : safe] as const;
  });
  return Object.fromEntries(shown);
}
