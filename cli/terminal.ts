import type { Json } from "./json.ts";

/** What commands write: results to stdout, what goes on meanwhile to stderr. */

const SGR = { dim: 2, bold: 1, red: 31, green: 32, yellow: 33, blue: 34, cyan: 36 } as const;
export type Style = keyof typeof SGR;

function coloured(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY === true && process.env.NO_COLOR === undefined && process.env.TERM !== "dumb";
}

/** Styled when the stream is a terminal and NO_COLOR isn't set. */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return coloured(stream) ? `\u001b[${SGR[style]}m${text}\u001b[0m` : text;
}

export function print(...lines: readonly string[]): void {
  for (const line of lines) process.stdout.write(`${line}\n`);
}

/** To stderr. */
export function note(...lines: readonly string[]): void {
  for (const line of lines) process.stderr.write(`${line}\n`);
}

export function printJson(value: Json): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Columns of stdout; 100 when it is no terminal. */
export function width(): number {
  return Math.min(process.stdout.columns ?? 100, 120);
}

/** Whoever reads our output may stop before its end, as `head` does. */
export function endQuietlyWhenUnread(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(process.exitCode ?? 0);
    throw error;
  });
}
