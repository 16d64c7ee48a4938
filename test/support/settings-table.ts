import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { SettingName } from "../../platform/config.ts";
import { SETTINGS } from "../../platform/settings.ts";
import { loadGatewayConfig } from "../../services/gateway/config.ts";
import { loadIndexConfig } from "../../services/index/config.ts";
import { loadSchedulerConfig } from "../../services/scheduler/config.ts";
import { loadWorkerConfig } from "../../services/worker/config.ts";

/**
 * The table of settings in docs/operations.md, made of the code: `npm run docs` writes it, a unit test compares. It stands
 * between two comment lines.
 */

export const OPERATIONS = fileURLToPath(new URL("../../docs/operations.md", import.meta.url));
const MARKS = /(<!-- settings: npm run docs -->\n)(?:.*\n)*?(<!-- end of settings -->)/;

const SERVICES: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  gateway: loadGatewayConfig({}),
  scheduler: loadSchedulerConfig({}),
  worker: loadWorkerConfig({}),
  index: loadIndexConfig({}),
};

export function withSettingsTable(document: string): string {
  if (!MARKS.test(document)) throw new Error("docs/operations.md has no place for the settings");
  return document.replace(
    MARKS,
    (_all, start: string, end: string) => `${start}\n${settingsTable()}\n\n${end}`,
  );
}

function settingsTable(): string {
  const rows = (Object.keys(SETTINGS) as SettingName[]).map((name) => {
    const readers = Object.keys(SERVICES).filter((service) => name in (SERVICES[service] ?? {}));
    const { fallback, meaning } = SETTINGS[name];
    const who = readers.length === 4 ? "all" : readers.join(", ") || "`arrw up`";
    const shown = fallback === "" ? "" : `\`${fallback}\``;
    return `| \`${name}\` | ${shown} | ${meaning} | ${who} |`;
  });
  return ["| name | default | meaning (bounds) | read by |", "|---|---|---|---|", ...rows].join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(OPERATIONS, withSettingsTable(readFileSync(OPERATIONS, "utf8")));
}
