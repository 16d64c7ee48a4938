import { CommanderError } from "commander";
import { EXIT, UsageError } from "./failure.ts";
import { createProgram } from "./program.ts";
import { reportLines, toFailure } from "./report.ts";
import { endQuietlyWhenUnread, note } from "./terminal.ts";

const json = process.argv.includes("--json");
// With --json it is said once, below, in the form that was asked for.
let wrongUsage = "";
const collected = {
  outputError: (text: string) => {
    wrongUsage += text;
  },
  writeErr: () => undefined,
};
const { program, invoked } = createProgram(json ? collected : {});

endQuietlyWhenUnread();
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = usageExit(error);
  else {
    note(...reportLines(error, { json, command: invoked() }));
    // What we got wrong shows where.
    if (process.env.ARRW_LOG_LEVEL === "debug" && error instanceof Error) note(`${error.stack}`);
    process.exitCode ||= toFailure(error).exitCode;
  }
}

function usageExit({ exitCode }: CommanderError): number {
  if (exitCode === 0) return EXIT.ok;
  if (json) {
    const message =
      wrongUsage
        .replace(/^error: /, "")
        .trim()
        .split("\n")[0] || "no command";
    note(...reportLines(new UsageError(message), { json, command: undefined }));
  }
  return EXIT.usage;
}
