/** What a handler logs, as lines of text. */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export type LogFields = Readonly<Record<string, unknown>>;

/** A setting's text; its table allows no other. */
export function logLevelOf(text: string): LogLevel {
  return LOG_LEVELS.find((level) => level === text) ?? "info";
}

/** The bound of one message with its fields. */
export const MAX_LINE_BYTES = 4_096;
const CUT = " ... [cut]";

/**
 * The message, then its fields as key=value: one line, or as many as the message has; together at most 4 KiB, the rest is
 * cut off with a mark.
 */
export function logLines(message: string, fields: LogFields = {}): string[] {
  let text = message;
  for (const [key, value] of Object.entries(fields)) {
    // The rest would be cut off.
    if (text.length > MAX_LINE_BYTES) break;
    if (value !== undefined) text += `${text === "" ? "" : " "}${key}=${valueText(value)}`;
  }
  return cut(text)
    .split(/[\r\n]+/)
    .filter((line) => line !== "");
}

function valueText(value: unknown): string {
  if (typeof value === "string") return quoted(value);
  if (value instanceof Error) return quoted(value.message);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid" : value.toISOString();
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  if (typeof value === "object" && value !== null) return JSON.stringify(value, withoutBigints) ?? "";
  return String(value);
}

function quoted(text: string): string {
  const bounded = text.slice(0, MAX_LINE_BYTES);
  return /^[^\s"=]+$/.test(bounded) ? bounded : JSON.stringify(bounded);
}

function withoutBigints(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

function cut(text: string): string {
  if (text.length * 3 <= MAX_LINE_BYTES || Buffer.byteLength(text) <= MAX_LINE_BYTES) return text;
  const bytes = Buffer.from(text.slice(0, MAX_LINE_BYTES));
  let end = MAX_LINE_BYTES - CUT.length;
  // Not within a character.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString("utf8", 0, end) + CUT;
}
