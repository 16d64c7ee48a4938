import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { freePort } from "../../../platform/free-port.ts";
import type { Cleanup } from "../../support/temp.ts";

/** Processes of the worker's tests; killed after the test. */

export interface Process {
  readonly child: ChildProcess;
  readonly httpPort: number;
  output(): string;
  /** Exit code or signal. */
  readonly exited: Promise<number | string>;
}

export function start(
  t: Cleanup,
  module: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Omit<Process, "httpPort"> {
  const path = new URL(module, import.meta.url).pathname;
  const child = spawn(process.execPath, ["--import", "tsx", path, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream?.on("data", (data) => (output += String(data)));
  // "close", not "exit": the output has been read to its end then.
  const exited = once(child, "close").then(([code, signal]) => (code ?? signal) as number | string);
  t.after(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  return { child, exited, output: () => output };
}

export async function startWorkerProcess(
  t: Cleanup,
  natsUrl: string,
  settings: NodeJS.ProcessEnv = {},
): Promise<Process> {
  const httpPort = await freePort();
  const env = { ARRW_NATS_URL: natsUrl, ARRW_WORKER_HTTP_PORT: String(httpPort), ...settings };
  return { ...start(t, "../../../services/worker/main.ts", [], env), httpPort };
}
