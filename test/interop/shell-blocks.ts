/**
 * The commands of a Markdown document. A block ```sh is run unless an HTML comment right above it says why not:
 *
 *     <!-- not run: needs Docker -->
 *
 * What readers see in the commands is what the tests do:
 * - a command that ends with `# until Ctrl-C` is interrupted once it has printed something;
 * - one that ends with `# fails: TEXT` must fail, and say TEXT;
 * - JOB_ID and CURSOR stand for the job and the cursor that an earlier command printed last.
 */

export interface Command {
  /** Of its first line, from 1. */
  readonly line: number;
  readonly text: string;
  readonly untilInterrupted: boolean;
  /** What it must say as it fails; undefined: it must succeed. */
  readonly failure: string | undefined;
}

export interface Block {
  readonly line: number;
  readonly commands: readonly Command[];
  /** Why it isn't run. */
  readonly notRun: string | undefined;
}

/** @throws Error on a block that doesn't end, or a command that its quotes don't close */
export function shellBlocks(markdown: string): Block[] {
  const lines = markdown.split("\n");
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at += 1) {
    const [, language] = /^\s*```(\w*)/.exec(lines[at] ?? "") ?? [];
    if (language === undefined) continue;
    const end = lines.findIndex((line, index) => index > at && /^\s*```\s*$/.test(line));
    if (end < 0) throw new Error(`the block in line ${at + 1} doesn't end`);
    if (language === "sh") {
      blocks.push({
        line: at + 1,
        commands: commandsOf(lines.slice(at + 1, end), at + 2),
        notRun: reasonAbove(lines, at),
      });
    }
    at = end;
  }
  return blocks;
}

function reasonAbove(lines: readonly string[], at: number): string | undefined {
  const above = lines.slice(0, at).findLast((line) => line.trim() !== "");
  return /^<!-- not run: (.+) -->$/.exec(above?.trim() ?? "")?.[1];
}

/** Lines that belong together: while a quote is open, or after a backslash. */
function commandsOf(lines: readonly string[], first: number): Command[] {
  const commands: Command[] = [];
  let pending: string[] = [];
  for (const [index, line] of lines.entries()) {
    if (pending.length === 0 && /^\s*(#|$)/.test(line)) continue;
    pending.push(line);
    const text = pending.join("\n");
    if (isOpen(text)) continue;
    commands.push(command(text, first + index - pending.length + 1));
    pending = [];
  }
  if (pending.length > 0) throw new Error(`line ${first + lines.length - 1}: the command doesn't end`);
  return commands;
}

function isOpen(text: string): boolean {
  if (text.endsWith("\\")) return true;
  const here = /<<-?\s*['"]?(\w+)['"]?/.exec(text)?.[1];
  if (here !== undefined) return !text.split("\n").slice(1).includes(here);
  let quote = "";
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] ?? "";
    if (quote === "" && character === "#" && /\s/.test(text[at - 1] ?? " ")) {
      const next = text.indexOf("\n", at);
      if (next < 0) break;
      at = next;
    } else if (character === "\\" && quote !== "'") at += 1;
    else if (quote === "" && (character === "'" || character === '"')) quote = character;
    else if (character === quote) quote = "";
  }
  return quote !== "";
}

function command(text: string, line: number): Command {
  const failure = /\s# fails: (.+)$/.exec(text)?.[1];
  return { line, text, untilInterrupted: /\s# until Ctrl-C$/.test(text), failure };
}

/** What the placeholders of a command stand for. */
export type Placeholders = Partial<Record<"JOB_ID" | "CURSOR", string>>;

/** @throws Error when nothing before the command printed what its placeholder stands for */
export function withPlaceholders(text: string, values: Placeholders): string {
  return text.replace(/\b(JOB_ID|CURSOR)\b(?!=)/g, (name) => {
    const value = values[name as keyof Placeholders];
    if (value === undefined) throw new Error(`no command before it printed a ${name}`);
    return value;
  });
}

/** The placeholders after a command that printed this: what it printed last, else what they were. */
export function placeholdersAfter(stdout: string, before: Placeholders): Placeholders {
  const jobId = /"job_?[iI]d":\s*"([^"]+)"|\bjob ([\da-f]{8}-[\da-f-]{27})\b/.exec(stdout);
  const cursors = [...stdout.matchAll(/"cursor":\s*"([^"]+)"/g)];
  const cursor = cursors.at(-1)?.[1];
  return {
    ...before,
    ...(jobId === null ? {} : { JOB_ID: jobId[1] ?? jobId[2] ?? "" }),
    ...(cursor === undefined ? {} : { CURSOR: cursor }),
  };
}

/** The addresses that the documents name, as they are here. */
export function withAddresses(text: string, grpc: string, http: string): string {
  return text
    .replaceAll(/\b(?:localhost|127\.0\.0\.1):50051\b/g, grpc)
    .replaceAll(/\b(?:localhost|127\.0\.0\.1):8000\b/g, http);
}
