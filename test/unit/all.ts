import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** All unit tests in one process: starting one for each file would take longer than all of them. */
const files = readdirSync(fileURLToPath(new URL(".", import.meta.url)), {
  recursive: true,
  encoding: "utf8",
});
for (const file of files.filter((name) => name.endsWith(".test.ts")).sort()) await import(`./${file}`);
