import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Exit, Running } from "./supervised.ts";

export interface ChildOptions {
  readonly name: string;
  /** The program: a TypeScript or JavaScript file. */
  readonly main: URL;
  readonly env: NodeJS.ProcessEnv;
  /** Every line of stdout and stderr. */
  readonly onLine: (line: string) => void;
}

/** Why the service ended, as its last fatal log line says. */
function fatalReason(line: string): string | undefined {
  if (!line.startsWith("{") || !line.includes('"fatal"')) return undefined;
  try {
    const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
    return level === "fatal" && typeof msg === "string" ? msg : undefined;
  } catch {
    return undefined;
  }
}

/** "exit code 1", "SIGKILL" */
export function describeExit({ code, signal }: Exit): string {
  return signal ?? (code === null ? "it could not be started" : `exit code ${code}`);
}

/** A larger young generation: services make many short-lived objects, and its collections are what they wait for. */
const NODE_FLAGS = ["--enable-source-maps", "--max-semi-space-size=32"];

/**
 * LMDB keeps lists of 3 MB for each library that is open, nearly empty ones. glibc raises by itself the size from which it
 * maps memory instead of clearing some of its heap, and then all of them would be in memory.
 */
const LIBC_ENV = { MALLOC_MMAP_THRESHOLD_: "1048576" };

/**
 * Starts a service as a Node process with an IPC channel, on which it says `{ready: true}`. The channel closes when
 * this process ends, however it ends; the service then stops (platform/lifecycle.ts).
 */
export async function launchChild(options: ChildOptions): Promise<Running> {
  const main = fileURLToPath(options.main);
  const loader = main.endsWith(".ts") ? ["--import", import.meta.resolve("tsx")] : [];
  // A session of its own: a terminal's Ctrl-C goes to the supervisor alone, which stops the services in order.
  const child = spawn(process.execPath, [...NODE_FLAGS, ...loader, main], {
    detached: true,
    env: { ...LIBC_ENV, ...options.env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let reason: string | undefined;
  const onLine = (line: string): void => {
    reason = fatalReason(line) ?? reason;
    options.onLine(line);
  };
  const drained = [child.stdout, child.stderr].map((stream) => readLines(stream, onLine));
  const exited = new Promise<Exit>((resolve) => {
    child.once("error", () => resolve({ code: null, signal: null }));
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const ready = new Promise<void>((resolve, reject) => {
    child.on("message", (message) => {
      if (typeof message === "object" && message !== null && "ready" in message) resolve();
    });
    void Promise.all([exited, ...drained]).then(([exit]) => {
      reject(new Error(`${options.name}: ${reason ?? `ended before it was ready (${describeExit(exit)})`}`));
    });
  });
  return {
    pid: child.pid ?? 0,
    ready,
    exited,
    kill: (signal) => {
      child.kill(signal);
    },
  };
}

function readLines(stream: Readable | null, onLine: (line: string) => void): Promise<void> {
  if (!stream) return Promise.resolve();
  const lines = createInterface({ input: stream });
  lines.on("line", onLine);
  return new Promise((resolve) => lines.once("close", resolve));
}
