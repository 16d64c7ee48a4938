import { type ChildProcess, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

/** The CLI as a process. */

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const PROGRAM = fileURLToPath(new URL("../../cli/arrw.js", import.meta.url));
export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** The environment of a user without settings of their own. */
export function userEnv(settings: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^(ARRW_|NATS_URL$|NODE_TEST)/.test(name));
  return { ...Object.fromEntries(kept), ...settings };
}

export function spawnNode(args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(process.execPath, [...args], { env, cwd: REPOSITORY, stdio: ["pipe", "pipe", "pipe"] });
}

export async function finished(child: ChildProcess, input = ""): Promise<CliResult> {
  // A process that ends early doesn't read its input.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(input);
  const code = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [stdout, stderr] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => (stream ? text(stream) : "")),
  );
  return { code: await code, stdout: stdout ?? "", stderr: stderr ?? "" };
}

/** Runs `arrw ...args` with ARRW_ADDRESS set. */
export function arrw(address: string, args: readonly string[], input = ""): Promise<CliResult> {
  return finished(startArrw(address, args), input);
}

export function startArrw(address: string, args: readonly string[]): ChildProcess {
  return spawnNode([PROGRAM, ...args], userEnv({ ARRW_ADDRESS: address }));
}
