import { statusName } from "../client/index.ts";

export { statusName };

/** Messages as JSON, as `--json` prints them: names as in the contract, 64-bit integers as numbers, times RFC 3339. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Whose values are the users' own and stay as they are. */
const VERBATIM: ReadonlySet<string> = new Set(["metadata", "labels"]);

export function toJson(value: unknown): Json {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(toJson);
  return messageJson(value as Record<string, unknown>);
}

function messageJson(message: Record<string, unknown>): Json {
  if (isDuration(message)) return `${Number(message.seconds) + message.nanos / 1e9}s`;
  const entries: [string, Json][] = [];
  for (const [key, value] of Object.entries(message)) {
    if (value === undefined || key === "_unknownFields") continue;
    if (isOneof(value)) entries.push([snakeCase(value.$case), toJson(value.value)]);
    else if (key === "status" && typeof value === "number") entries.push([key, statusName(value)]);
    else entries.push([snakeCase(key), VERBATIM.has(key) ? (value as Json) : toJson(value)]);
  }
  return Object.fromEntries(entries);
}

function isDuration(message: Record<string, unknown>): message is { seconds: bigint; nanos: number } {
  return typeof message.seconds === "bigint" && typeof message.nanos === "number";
}

function isOneof(value: unknown): value is { $case: string; value: unknown } {
  return typeof value === "object" && value !== null && "$case" in value;
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
