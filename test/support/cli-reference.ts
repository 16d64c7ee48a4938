import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { EXIT_MEANINGS } from "../../cli/failure.ts";
import { createProgram } from "../../cli/program.ts";

/** docs/cli.md: what `arrw help` says of every command. Run as a program it writes the file. */

export const CLI_REFERENCE = fileURLToPath(new URL("../../docs/cli.md", import.meta.url));
const WIDTH = 100;

const HEAD = `# The command \`arrw\`

Made from what \`arrw help COMMAND\` says, by \`npm run docs\`.

- Every command that asks a gateway takes the options under [Gateway](#gateway); they may also stand before the command's
  name. What the environment says holds unless an option says otherwise.
- \`--json\` prints an object a line: messages as in [docs/api.md](api.md), 64-bit integers as numbers, times in RFC 3339. An
  error is \`{"error": {"code", "reason", "message", "fields": [{"field", "option", "description"}], "exit_code"}}\` on stderr.
- Results go to stdout, what goes on meanwhile to stderr. Colours and bars are for terminals; \`NO_COLOR\` is heeded.
- Ctrl-C in a watch only detaches: the job goes on.
`;

/** The whole document. */
export function cliReference(): string {
  const codes = EXIT_MEANINGS.map(([code, meaning]) => `| ${code} | ${meaning} |`);
  const { commands, names } = allCommands();
  const sections = commands.map(({ path, help }) => `## ${path}\n\n\`\`\`text\n${help}\n\`\`\``);
  return [
    HEAD,
    ["## Exit codes", "", "| code | |", "|---|---|", ...codes].join("\n"),
    `\n## Gateway\n\n\`\`\`text\n${gatewayOptions(names)}\n\`\`\`\n`,
    sections.join("\n\n"),
    "",
  ].join("\n");
}

interface Documented {
  readonly path: string;
  readonly help: string;
}

function allCommands(): { commands: Documented[]; names: Command } {
  let written = "";
  const { program } = createProgram({
    writeOut: (text) => {
      written += text;
    },
    getOutHelpWidth: () => WIDTH,
    getOutHasColors: () => false,
  });
  const commands: Documented[] = [];
  const walk = (command: Command, path: string): void => {
    const children = command.commands.filter(({ _hidden }: Command & { _hidden?: boolean }) => !_hidden);
    if (children.length === 0) {
      written = "";
      command.outputHelp();
      commands.push({ path, help: withoutGateway(written).trimEnd() });
    }
    for (const child of children) walk(child, `${path} ${child.name()}`);
  };
  walk(program, "arrw");
  return { commands, names: program };
}

const GATEWAY = /\nGateway:\n((?: .*\n)+)/;

/** They are the same everywhere. */
function withoutGateway(help: string): string {
  return help
    .replace(GATEWAY, "")
    .replace(/\n {2}-h, --help .*(?=\n)/, "")
    .replace(/\nOptions:\n(?=\n|$)/, "")
    .replace(/\n{3,}/g, "\n\n");
}

function gatewayOptions(program: Command): string {
  const help = program.helpInformation();
  return (GATEWAY.exec(`${help}\n`)?.[1] ?? "").trimEnd();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(CLI_REFERENCE, cliReference());
