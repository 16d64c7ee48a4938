import { benchExport } from "./export.ts";
import { benchImport } from "./import.ts";
import { benchIndex } from "./index.ts";
import { benchJobs } from "./jobs.ts";
import { benchPromptness } from "./promptness.ts";
import { benchRetained } from "./retained.ts";
import { benchSearch } from "./search.ts";
import { benchWaiting } from "./waiting.ts";
import { benchWatches } from "./watches.ts";

/** `npm run bench -- <name> [options]`: each bench prints its figures; docs/operations.md says what they were. */
const BENCHES: Readonly<Record<string, (args: readonly string[]) => Promise<void>>> = {
  jobs: benchJobs,
  import: benchImport,
  export: benchExport,
  index: benchIndex,
  search: benchSearch,
  retained: benchRetained,
  promptness: benchPromptness,
  waiting: benchWaiting,
  watches: benchWatches,
};

const [name = "", ...args] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench) {
  await bench(args);
} else {
  console.error(`usage: npm run bench -- <${Object.keys(BENCHES).join("|")}> [options]`);
  process.exitCode = 1;
}
