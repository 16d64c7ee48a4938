import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";

/** Programs that are not ours, run to their end. */

export interface Ran {
  /** null: killed by a signal. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly input?: string;
  /** SIGKILL after it; default 60,000. */
  readonly timeoutMs?: number;
}

/** @throws Error when there is no such program */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { env = process.env, cwd, input = "", timeoutMs = 60_000 } = options;
  const child = spawn(program, [...args], { env, ...(cwd === undefined ? {} : { cwd }) });
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  }).finally(() => clearTimeout(timer));
  // A program that ends early doesn't read its input.
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}

/** @returns its output; @throws Error with all that it wrote when it ends with another code than 0 */
export async function succeed(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { code, stdout, stderr } = await run(program, args, options);
  if (code === 0) return stdout;
  throw new Error(`${program} ${args.join(" ")} ended with ${code}\n${stdout}\n${stderr}`);
}

/** Whether the program is there and runs with these arguments. */
export async function works(program: string, args: readonly string[]): Promise<boolean> {
  return (await run(program, args).catch(() => undefined))?.code === 0;
}
