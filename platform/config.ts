import { closest, distance } from "fastest-levenshtein";
import { SETTINGS, type Setting } from "./settings.ts";

/** From the environment to settings. All of them may stand in the environment of all processes; each takes its own. */

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

/** Names that clients read, `arrw` among them: they may stand in the environment of a service as well. */
const PRIVATE: ReadonlySet<string> = new Set([
  "ARRW_ADDRESS",
  "ARRW_API_KEY",
  "ARRW_API_KEY_FILE",
  "ARRW_TLS",
  "ARRW_TLS_SERVER_NAME",
  "ARRW_TIMEOUT_MS",
]);

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
