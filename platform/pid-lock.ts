import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { ArrwError } from "./errors.ts";

/** A process for ever: pids are used again, a pid with its start time is not. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

/** The identity of a living process; undefined when there is none (a zombie counts as dead). */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    if (process.platform === "linux") {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      // The name in parentheses may hold spaces; what follows it is: state, ppid, ... start time as the 20th.
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const started = fields[19];
      return started === undefined || fields[0] === "Z" || fields[0] === "X" ? undefined : { pid, started };
    }
    const text = execFileSync("ps", ["-o", "state=,lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    const [state = "", ...started] = text.split(/\s+/);
    return state === "" || state.startsWith("Z") ? undefined : { pid, started: started.join(" ") };
  } catch {
    return undefined;
  }
}

/** Whether this very process lives, not another one with its pid. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

export interface PidLock {
  /** Removes the lock file; twice is fine. */
  release(): void;
}

/**
 * Takes a lock file that names its holder. One whose holder is dead is taken over.
 * @throws ArrwError FAILED_PRECONDITION, reason LOCKED, metadata {pid} when a living process holds it; the file
 * system's own error when the file can't be made
 */
export function acquirePidLock(path: string): PidLock {
  const self = identify(process.pid) ?? { pid: process.pid, started: "" };
  const content = JSON.stringify({ ...self, id: randomUUID() });
  const own = `${path}.${randomUUID()}`;
  writeFileSync(own, content);
  try {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      try {
        linkSync(own, path);
        return { release: () => release(path, content) };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      removeStale(path);
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new ArrwError("FAILED_PRECONDITION", `${path} changes hands all the time`, { reason: "LOCKED" });
}

function release(path: string, content: string): void {
  if (read(path) === content) rmSync(path, { force: true });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function removeStale(path: string): void {
  const content = read(path);
  if (content === undefined) return;
  const holder = parseIdentity(content);
  if (holder && isAlive(holder)) {
    throw new ArrwError("FAILED_PRECONDITION", `${path} is held by process ${holder.pid}`, {
      reason: "LOCKED",
      metadata: { pid: String(holder.pid) },
    });
  }
  // Two processes may find the same stale file: moving it away first shows which file was taken.
  const aside = `${path}.${randomUUID()}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (read(aside) !== content) restore(aside, path);
  rmSync(aside, { force: true });
}

/** The file taken was another process's fresh lock: it gets it back. */
function restore(aside: string, path: string): void {
  try {
    linkSync(aside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}

/** Reads `{pid, started}` from JSON; undefined when it is something else. */
export function parseIdentity(content: string): ProcessIdentity | undefined {
  try {
    const value: unknown = JSON.parse(content);
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, started } = value as Record<string, unknown>;
    return typeof pid === "number" && typeof started === "string" ? { pid, started } : undefined;
  } catch {
    return undefined;
  }
}
