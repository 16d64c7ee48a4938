import { InvalidArgumentError } from "commander";
import { JobStatus } from "../client/index.ts";
import { nearestName } from "./nearest-name.ts";

/** How commands read their options; bounds are the server's to check. */

export function integer(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError("expected a whole number");
  return Number(text);
}

/** key=value, repeated. */
export function label(text: string, before: Record<string, string> = {}): Record<string, string> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected KEY=VALUE");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

const STATUSES = Object.entries(JobStatus)
  .filter(([, value]) => value !== JobStatus.JOB_STATUS_UNSPECIFIED)
  .map(([name, value]) => [name.replace("JOB_STATUS_", "").toLowerCase(), value] as const);

/** "running,pending" or repeated. */
export function statuses(text: string, before: readonly JobStatus[] = []): JobStatus[] {
  const names = STATUSES.map(([name]) => name);
  const wanted = text.split(",").map((each) => {
    const name = each.trim().toLowerCase();
    const found = STATUSES.find(([known]) => known === name);
    if (found) return found[1];
    const nearest = nearestName(name, names);
    const hint = nearest === undefined ? `one of ${names.join(", ")}` : `did you mean ${nearest}?`;
    throw new InvalidArgumentError(hint);
  });
  return [...before, ...wanted];
}

/** "batch_import,echo" or repeated. */
export function list(text: string, before: readonly string[] = []): string[] {
  return [...before, ...text.split(",").map((each) => each.trim())];
}

/** A number as it is typed: "0.5". */
export function decimal(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("expected a number");
  return value;
}

const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** "250ms", "90s", "5m", "2h", "1d" as a google.protobuf.Duration. */
export function time(text: string): { seconds: bigint; nanos: number } {
  const ms = timeMs(text);
  return { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1_000_000 };
}

/** The same in ms. */
export function timeMs(text: string): number {
  const [, number, unit] = /^(\d{1,9}(?:\.\d{1,3})?) ?(ms|s|m|min|h|d)$/.exec(text.trim()) ?? [];
  if (number === undefined) throw new InvalidArgumentError("expected a time, as 250ms, 90s, 5m, 2h or 1d");
  return Math.round(Number(number) * UNIT_MS[unit as keyof typeof UNIT_MS]);
}

/** RFC 3339, or a time from now (`direction` 1) or ago (-1). */
export function moment(direction: 1 | -1): (text: string) => Date {
  return (text) => {
    const typed = text.trim();
    if (/^\d{4}-\d\d-\d\d/.test(typed)) {
      const at = new Date(typed);
      if (!Number.isNaN(at.getTime())) return at;
    } else if (/^\d/.test(typed)) return new Date(Date.now() + direction * timeMs(typed));
    throw new InvalidArgumentError("expected a time, as 2026-12-24T18:00:00Z, or 90s, 5m, 2h, 1d");
  };
}
