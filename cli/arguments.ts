import { InvalidArgumentError } from "commander";
import { JobStatus } from "../client/index.ts";
import { nearestName } from "./connection.ts";

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
