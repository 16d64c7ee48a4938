import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { defaultCacheDir } from "../../platform/nats/launcher.ts";
import { succeed, works } from "./command.ts";
import type { Tool } from "./plan.ts";

/**
 * Tools and packages of other languages, built or fetched once and kept in the user's cache folder, in a folder for each set
 * of pinned versions.
 */

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const GO_MODULE = join(ROOT, "test/interop/tools");
const REQUIREMENTS = join(ROOT, "examples/python/requirements.txt");
const BUILD_TIMEOUT_MS = 900_000;

/** What of the tools is not on this machine. */
export async function missingTools(): Promise<Set<Tool>> {
  const checks: readonly (readonly [Tool, string, readonly string[]])[] = [
    ["go", "go", ["version"]],
    ["pip", "python3", ["-m", "pip", "--version"]],
    ["curl", "curl", ["--version"]],
  ];
  const missing = new Set<Tool>();
  for (const [tool, program, args] of checks) if (!(await works(program, args))) missing.add(tool);
  return missing;
}

/** Builds grpcurl, ghz and protoc's Go plugins. @returns the folder that has them */
export async function goTools(): Promise<string> {
  const pinned = ["go.mod", "go.sum"].map((file) => readFileSync(join(GO_MODULE, file), "utf8"));
  const version = await succeed("go", ["version"]);
  return kept("go", [...pinned, version], async (folder) => {
    const env = { ...process.env, GOBIN: folder, GOFLAGS: "-mod=readonly -buildvcs=false" };
    await succeed("go", ["install", "tool"], { cwd: GO_MODULE, env, timeoutMs: BUILD_TIMEOUT_MS });
  });
}

/** Installs what examples/python needs. @returns the folder for PYTHONPATH */
export async function pythonPackages(): Promise<string> {
  const version = await succeed("python3", ["--version"]);
  return kept("python", [readFileSync(REQUIREMENTS, "utf8"), version], async (folder) => {
    const quiet = ["--quiet", "--disable-pip-version-check", "--no-input"];
    const args = ["-m", "pip", "install", ...quiet, "--target", folder, "-r", REQUIREMENTS];
    await succeed("python3", args, { timeoutMs: BUILD_TIMEOUT_MS });
  });
}

/** The environment in which the Go tools are found first. */
export function withPath(folder: string, env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, PATH: `${folder}${delimiter}${env.PATH ?? ""}` };
}

/** A folder that `make` fills once. It gets its name when it is complete, and those of older versions go. */
async function kept(
  kind: string,
  versions: readonly string[],
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const cache = join(defaultCacheDir(process.env), "interop");
  const key = createHash("sha256").update(versions.join("\0")).digest("hex").slice(0, 16);
  const folder = join(cache, `${kind}-${key}`);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return folder;
  mkdirSync(cache, { recursive: true });
  const unfinished = join(cache, `${kind}-${process.pid}.part`);
  rmSync(unfinished, { recursive: true, force: true });
  await make(unfinished);
  for (const name of readdirSync(cache)) {
    if (name.startsWith(`${kind}-`) && !name.endsWith(".part")) {
      rmSync(join(cache, name), { recursive: true, force: true });
    }
  }
  renameSync(unfinished, folder);
  return folder;
}
