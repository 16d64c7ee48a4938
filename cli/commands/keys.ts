import { type Command, Option } from "commander";
import {
  API_KEY_ROLES,
  type ApiKey,
  type ApiKeyRole,
  hashApiKey,
  newApiKey,
} from "../../platform/api-keys.ts";
import { changeApiKeys, readApiKeys } from "../api-key-file.ts";
import { list as commaSeparated, timeMs } from "../arguments.ts";
import { table } from "../format.ts";
import type { Json } from "../json.ts";
import { note, paint, print, printJson } from "../terminal.ts";

interface FileOptions {
  readonly file: string;
  readonly json?: boolean;
}

interface CreateOptions extends FileOptions {
  readonly role: ApiKeyRole;
  readonly library?: string[];
  /** ms */
  readonly expires?: number;
}

export function register(program: Command): void {
  const keys = program
    .command("keys")
    .description("API keys: a file with their hashes, which the gateway reads");
  withFile(keys.command("create <name>"))
    .description("make a key and show it, once")
    .addOption(
      new Option("--role <role>", "what it may do").choices([...API_KEY_ROLES]).makeOptionMandatory(),
    )
    .option(
      "--library <pattern>",
      "only for this library, or ids that begin so (acme-*); repeat",
      commaSeparated,
    )
    .option("--expires <time>", "refused after that time, as 90d; default: never", timeMs)
    .action((name: string, { file, role, library, expires, json }: CreateOptions) => {
      const expiresAtMs = expires === undefined ? undefined : Date.now() + expires;
      const key = newApiKey();
      changeApiKeys(file, (before) => withKey(before, { name, role, libraries: library, expiresAtMs, key }));
      show(key, name, json);
    });
  withFile(keys.command("list"))
    .description("who has keys; the keys themselves are not kept")
    .action(({ file, json }: FileOptions) => {
      const all = readApiKeys(file).keys;
      if (json) for (const key of all) printJson(shownJson(key));
      else print(...keyLines(all, Date.now()));
    });
  withFile(keys.command("rotate <name>"))
    .description("make a second key for it; the one before works on until `arrw keys revoke --old`")
    .action((name: string, { file, json }: FileOptions) => {
      const key = newApiKey();
      changeApiKeys(file, (before) => withSecondKey(before, name, key));
      show(key, name, json);
    });
  withFile(keys.command("revoke <name>"))
    .description("refuse its keys from now on")
    .option("--old", "only the one before the last rotation")
    .action((name: string, { file, old }: FileOptions & { readonly old?: boolean }) => {
      changeApiKeys(file, (before) => (old ? withoutOldKey(before, name) : withoutKey(before, name)));
      note(old ? `the old key of ${name} is refused from now on` : `${name} is refused from now on`);
    });
}

export interface NewKey {
  readonly name: string;
  readonly role: ApiKeyRole;
  readonly libraries: string[] | undefined;
  readonly expiresAtMs: number | undefined;
  readonly key: string;
}

/** @throws Error when the name is taken */
export function withKey(before: readonly ApiKey[], made: NewKey): ApiKey[] {
  const { name, role, libraries, expiresAtMs, key } = made;
  if (before.some((each) => each.name === name))
    throw new Error(`${name} has a key; \`arrw keys rotate ${name}\` gives it another`);
  return [
    ...before,
    {
      name,
      role,
      ...(libraries === undefined ? {} : { libraries }),
      sha256: [hex(key)],
      ...(expiresAtMs === undefined ? {} : { expires_at: new Date(expiresAtMs).toISOString() }),
    },
  ];
}

/** @throws Error when there is no such name, or it has two keys */
export function withSecondKey(before: readonly ApiKey[], name: string, key: string): ApiKey[] {
  return changed(before, name, (each) => {
    if (each.sha256.length > 1)
      throw new Error(`${name} has two keys; \`arrw keys revoke ${name} --old\` ends the rotation first`);
    return { ...each, sha256: [...each.sha256, hex(key)] };
  });
}

/** @throws Error when there is no such name, or it has one key */
export function withoutOldKey(before: readonly ApiKey[], name: string): ApiKey[] {
  return changed(before, name, (each) => {
    if (each.sha256.length < 2) throw new Error(`${name} has one key; without --old it is revoked`);
    return { ...each, sha256: each.sha256.slice(-1) };
  });
}

/** @throws Error when there is no such name */
export function withoutKey(before: readonly ApiKey[], name: string): ApiKey[] {
  changed(before, name, (each) => each);
  return before.filter((each) => each.name !== name);
}

export function keyLines(keys: readonly ApiKey[], nowMs: number): string[] {
  if (keys.length === 0) return ["no keys: nobody is let in"];
  const rows = keys.map(({ name, role, libraries, sha256, expires_at: expiresAt }) => [
    name,
    role,
    libraries?.join(", ") ?? "all",
    expiresAt === undefined ? "never" : `${expiresAt}${Date.parse(expiresAt) <= nowMs ? " (expired)" : ""}`,
    sha256.length > 1 ? "old and new" : "",
  ]);
  const [head = "", ...others] = table(["NAME", "ROLE", "LIBRARIES", "EXPIRES", "ROTATION"], rows);
  return [paint("dim", head), ...others];
}

function changed(before: readonly ApiKey[], name: string, change: (key: ApiKey) => ApiKey): ApiKey[] {
  if (!before.some((each) => each.name === name)) throw new Error(`no key has the name ${name}`);
  return before.map((each) => (each.name === name ? change(each) : each));
}

function withFile(command: Command): Command {
  return command
    .addOption(
      new Option("--file <path>", "the file of keys").env("ARRW_API_KEYS_FILE").makeOptionMandatory(),
    )
    .option("--json", "one JSON object per line");
}

function show(key: string, name: string, json = false): void {
  if (json) printJson({ name, key });
  // Alone on stdout: for a pipe into whatever keeps secrets.
  else print(key);
  note(`the key of ${name}: keep it now, it can't be shown again`);
}

function shownJson({ name, role, libraries, sha256, expires_at: expiresAt }: ApiKey): Json {
  return {
    name,
    role,
    keys: sha256.length,
    ...(libraries === undefined ? {} : { libraries }),
    ...(expiresAt === undefined ? {} : { expires_at: expiresAt }),
  };
}

function hex(key: string): string {
  return hashApiKey(key).toString("hex");
}
