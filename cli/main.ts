import { Command } from "commander";
import * as deleteCommand from "./commands/delete.ts";
import * as demo from "./commands/demo.ts";
import * as exportCommand from "./commands/export.ts";
import * as importCommand from "./commands/import.ts";
import * as indexJobs from "./commands/index-jobs.ts";
import * as jobs from "./commands/jobs.ts";
import * as library from "./commands/library.ts";
import * as queue from "./commands/queue.ts";
import * as search from "./commands/search.ts";
import * as stats from "./commands/stats.ts";
import * as up from "./commands/up.ts";
import * as workers from "./commands/workers.ts";

/** A command is a file in commands/ that exports `register(program)`, and a line here. */
const COMMANDS: readonly { register(program: Command): void }[] = [
  up,
  demo,
  library,
  importCommand,
  exportCommand,
  deleteCommand,
  indexJobs,
  jobs,
  search,
  stats,
  queue,
  workers,
];

const program = new Command("arrw")
  .description("Vector libraries and their background jobs")
  .showHelpAfterError("(arrw help shows all commands)")
  .enablePositionalOptions();
for (const command of COMMANDS) command.register(program);

try {
  await program.parseAsync();
} catch (error) {
  // One line for what a user can put right; what we got wrong shows where.
  const shown = error instanceof Error ? error.message : String(error);
  process.stderr.write(`error: ${shown}\n`);
  if (process.env.ARRW_LOG_LEVEL === "debug" && error instanceof Error)
    process.stderr.write(`${error.stack}\n`);
  process.exitCode ||= 1;
}
