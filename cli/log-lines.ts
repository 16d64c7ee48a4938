/** Renders what services log (JSON lines) for people: `time name level message key=value`. */

export interface LogEntry {
  /** ISO time or HH:MM:SS.mmm; undefined = unknown. */
  readonly time: string | undefined;
  readonly name: string;
  readonly level: string;
  readonly message: string;
  readonly fields: readonly (readonly [string, unknown])[];
  /** Shown on lines of its own. */
  readonly stack: string | undefined;
}

/** Levels from the least severe. */
export const SEVERITY = ["trace", "debug", "info", "warn", "error", "fatal", "silent"];

const RESET = "\u001b[0m";
const DIM = "\u001b[2m";
const LEVEL_COLOURS: Readonly<Record<string, string>> = {
  trace: DIM,
  debug: DIM,
  info: "\u001b[32m",
  warn: "\u001b[33m",
  error: "\u001b[31m",
  fatal: "\u001b[1;31m",
};
const NAME_COLOURS: Readonly<Record<string, string>> = {
  nats: "\u001b[34m",
  index: "\u001b[35m",
  scheduler: "\u001b[36m",
  worker: "\u001b[33m",
  gateway: "\u001b[32m",
};
const NAME_WIDTH = 9;
const OMITTED = new Set(["time", "level", "service", "pid", "hostname", "msg", "err"]);

/** A line of a service; what is not JSON (a stack trace, a library's print) is taken as its message. */
export function parseServiceLine(name: string, line: string): LogEntry {
  const parsed = parseObject(line);
  if (!parsed) return { time: undefined, name, level: "", message: line, fields: [], stack: undefined };
  const { time, level, msg, err } = parsed;
  const fields = Object.entries(parsed).filter(([key]) => !OMITTED.has(key));
  const error = typeof err === "object" && err !== null ? (err as Record<string, unknown>) : undefined;
  const reason = error?.message;
  const severe = level === "error" || level === "fatal";
  if (typeof reason === "string" && !String(msg).includes(reason)) fields.push(["err", reason]);
  return {
    time: typeof time === "string" ? time : undefined,
    name,
    level: typeof level === "string" ? level : "",
    message: typeof msg === "string" ? msg : "",
    fields,
    stack: severe && typeof error?.stack === "string" ? error.stack : undefined,
  };
}

/** Is it a line of the gateway's audit log? */
export function isAudit({ fields }: LogEntry): boolean {
  return fields.some(([key, value]) => key === "audit" && value === true);
}

const NATS_LEVELS: Readonly<Record<string, string>> = {
  TRC: "trace",
  DBG: "debug",
  INF: "info",
  WRN: "warn",
  ERR: "error",
  FTL: "fatal",
};

/** A line of nats-server: `[pid] 2026/01/31 09:04:50.349121 [INF] Server is ready`. */
export function parseNatsLine(line: string): LogEntry {
  const match = /^\[\d+\] \S+ (\d\d:\d\d:\d\d\.\d{3})\d* \[([A-Z]{3})\] (.*)$/.exec(line);
  const [, time, level = "", message = line] = match ?? [];
  return { time, name: "nats", level: NATS_LEVELS[level] ?? "", message, fields: [], stack: undefined };
}

/** One line, or more when there is a stack; no line break at the end. */
export function renderEntry(entry: LogEntry, colour: boolean): string {
  const paint = (code: string | undefined, text: string): string =>
    colour && code !== undefined ? `${code}${text}${RESET}` : text;
  const fields = entry.fields
    .map(([key, value]) => ` ${paint(DIM, `${key}=`)}${renderValue(value)}`)
    .join("");
  const head = [
    paint(DIM, clockTime(entry.time)),
    paint(NAME_COLOURS[entry.name], entry.name.padEnd(NAME_WIDTH)),
    paint(LEVEL_COLOURS[entry.level], entry.level.padEnd(5)),
    `${entry.message}${fields}`,
  ].join(" ");
  const stack = entry.stack?.split("\n").slice(1).join("\n");
  return stack ? `${head}\n${paint(DIM, stack)}` : head;
}

function parseObject(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function renderValue(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value) ?? "undefined";
  return value === "" || /[\s"=]/.test(value) ? JSON.stringify(value) : value;
}

/** Local time of day of an ISO time. */
function clockTime(time: string | undefined): string {
  if (time === undefined) return " ".repeat(12);
  if (!time.includes("T")) return time;
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  const two = (n: number): string => String(n).padStart(2, "0");
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}
