import { Command, type OutputConfiguration } from "commander";
import * as completion from "./commands/completion.ts";
import * as deleteCommand from "./commands/delete.ts";
import * as demo from "./commands/demo.ts";
import * as document from "./commands/document.ts";
import * as exitCodes from "./commands/exit-codes.ts";
import * as exportCommand from "./commands/export.ts";
import * as importCommand from "./commands/import.ts";
import * as indexJobs from "./commands/index-jobs.ts";
import * as jobs from "./commands/jobs.ts";
import * as keys from "./commands/keys.ts";
import * as library from "./commands/library.ts";
import * as queue from "./commands/queue.ts";
import * as search from "./commands/search.ts";
import * as stats from "./commands/stats.ts";
import * as top from "./commands/top.ts";
import * as up from "./commands/up.ts";
import * as workers from "./commands/workers.ts";
import { connectionOptions, inheritOptions } from "./connection-options.ts";

interface CommandFile {
  register(program: Command): void;
}

/** A command is a file in commands/ that exports `register(program)`, and a name here. */
const COMMANDS: readonly (readonly [heading: string, files: readonly CommandFile[]])[] = [
  ["Here:", [up, demo, keys]],
  ["Libraries:", [library, document, importCommand, exportCommand, deleteCommand, search, indexJobs]],
  ["Jobs:", [jobs, stats, top, queue, workers]],
  ["Help:", [completion, exitCodes]],
];

export interface Program {
  readonly program: Command;
  /** The command whose action began. */
  invoked(): Command | undefined;
}

/**
 * All commands. Parsing throws what actions throw, and CommanderError for a wrong command line, after that went to
 * `output`.
 */
export function createProgram(output: OutputConfiguration = {}): Program {
  let invoked: Command | undefined;
  const program = new Command("arrw")
    .description("Vector libraries and their background jobs")
    .usage("<command> [options]")
    .showHelpAfterError("(arrw help shows all commands)")
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput(output)
    .addHelpText("after", "\nOptions of a command: arrw help COMMAND. Exit codes: arrw help exit-codes.")
    .option("--json", "one JSON object per line; errors, too");
  for (const option of connectionOptions()) program.addOption(option);
  for (const [heading, files] of COMMANDS) {
    program.commandsGroup(heading);
    for (const file of files) file.register(program);
  }
  program.hook("preAction", (_program, command) => {
    invoked = command;
    inheritOptions(program, command);
    if (command.getOptionValue("color") === false) process.env.NO_COLOR = "1";
  });
  return { program, invoked: () => invoked };
}
