import type { Command } from "commander";
import { EXIT_MEANINGS } from "../failure.ts";
import { fields } from "../format.ts";
import { print } from "../terminal.ts";

export function register(program: Command): void {
  program
    .command("exit-codes")
    .description("what commands end with")
    .addHelpText("after", `\n${exitCodeLines().join("\n")}`)
    .action(() => print(...exitCodeLines()));
}

export function exitCodeLines(): string[] {
  return fields(EXIT_MEANINGS.map(([code, meaning]) => [String(code), meaning]));
}
