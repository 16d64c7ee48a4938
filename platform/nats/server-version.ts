import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** Oldest server that runs: `sync_interval` in the configuration needs 2.10. */
export const MIN_SERVER_VERSION = "2.10.0";
/** The release that the launcher downloads when the machine has none. */
export const PINNED_SERVER_VERSION = "2.15.1";

const execute = promisify(execFile);

/** The first `major.minor.patch` of a text such as "nats-server: v2.15.1". */
export function parseVersion(text: string): string | undefined {
  return /(?<![\d.])v?(\d+\.\d+\.\d+)/.exec(text)?.[1];
}

/** Negative, 0 or positive, as for `sort`; compares numbers, not text. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < 3; i += 1) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Why this version is refused, with what to do; undefined = it is new enough. */
export function tooOld(version: string): string | undefined {
  if (compareVersions(version, MIN_SERVER_VERSION) >= 0) return undefined;
  return `nats-server ${version} is too old, ${MIN_SERVER_VERSION.replace(/\.0$/, "")} or newer is needed`;
}

/**
 * Runs `<binary> --version`.
 * @throws Error when the file doesn't run or says no version.
 */
export async function readServerVersion(binary: string): Promise<string> {
  const { stdout, stderr } = await execute(binary, ["--version"], { timeout: 10_000 });
  const version = parseVersion(stdout) ?? parseVersion(stderr);
  if (version === undefined) throw new Error(`${binary} --version printed no version`);
  return version;
}
