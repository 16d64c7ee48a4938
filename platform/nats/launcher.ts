import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { ArrwError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type DebianOptions, extractDebianPackage } from "./debian-package.ts";
import { extractRelease } from "./release-archive.ts";
import {
  compareVersions,
  MIN_SERVER_VERSION,
  PINNED_SERVER_VERSION,
  readServerVersion,
  tooOld,
} from "./server-version.ts";

export { type NatsServerOptions, type NatsServerProcess, startNatsServer } from "./server-process.ts";

export interface FindOptions {
  /** Default `process.env`: NATS_SERVER_BIN, PATH, XDG_CACHE_HOME are read. */
  readonly env?: NodeJS.ProcessEnv;
  /** Default: `arrwdb` in the user's cache folder. */
  readonly cacheDir?: string;
  readonly log?: Logger;
  /** Time a connection may take before the next source is tried; default 3,000. */
  readonly connectTimeoutMs?: number;
  /** Release that is downloaded; default `PINNED_SERVER_VERSION`. */
  readonly version?: string;
  /** Where release archives are; default GitHub. */
  readonly releasesUrl?: string;
  readonly platform?: string;
  readonly arch?: string;
  readonly debian?: Omit<DebianOptions, "workDir" | "signal" | "env">;
  /** Ends a download. */
  readonly signal?: AbortSignal;
}

export interface NatsServerBinary {
  readonly path: string;
  readonly version: string;
  /** "NATS_SERVER_BIN", "PATH", "cache", "release" or "debian". */
  readonly source: string;
}

type Attempt = (note: (reason: string) => void) => Promise<NatsServerBinary | undefined>;

/**
 * Finds a nats-server, or gets one: NATS_SERVER_BIN, PATH, own cache, official release, Debian's archive. What was
 * downloaded is verified (checksum or archive signature) and kept in the cache.
 * @throws ArrwError FAILED_PRECONDITION: NATS_SERVER_UNUSABLE (NATS_SERVER_BIN names one that doesn't run or is below
 * 2.10), NATS_SERVER_NOT_FOUND (one line with what was tried and what to do)
 */
export async function findNatsServer(options: FindOptions = {}): Promise<NatsServerBinary> {
  const env = options.env ?? process.env;
  const cacheDir = options.cacheDir ?? defaultCacheDir(env);
  const attempts: readonly (readonly [string, Attempt])[] = [
    ["NATS_SERVER_BIN", (note) => fromEnvironment(env, note)],
    ["PATH", (note) => fromPath(env, note)],
    ["cache", (note) => fromCache(cacheDir, options, note)],
    ["release", () => fromRelease(cacheDir, options)],
    ["debian", () => fromDebian(cacheDir, options)],
  ];
  const tried: string[] = [];
  for (const [source, attempt] of attempts) {
    options.signal?.throwIfAborted();
    const note = (reason: string): void => {
      tried.push(`${source}: ${reason}`);
      options.log?.debug({ source, reason }, "no nats-server here");
    };
    const found = await attempt(note).catch((error: unknown) => {
      if (error instanceof ArrwError) throw error;
      note(error instanceof Error ? error.message : String(error));
      return undefined;
    });
    if (!found) continue;
    options.log?.info({ source, version: found.version, path: found.path }, "nats-server found");
    return found;
  }
  throw new ArrwError(
    "FAILED_PRECONDITION",
    `no nats-server ${MIN_SERVER_VERSION.replace(/\.0$/, "")} or newer; tried ${tried.join("; ")}. ${WHAT_TO_DO}`,
    { reason: "NATS_SERVER_NOT_FOUND" },
  );
}

const WHAT_TO_DO =
  "Install one (macOS: brew install nats-server; else https://nats.io/download) and set NATS_SERVER_BIN to its path, " +
  "or set ARRW_NATS_URL to a running server";

/** `XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`, and in it `arrwdb`. */
export function defaultCacheDir(env: NodeJS.ProcessEnv, platform: string = process.platform): string {
  if (env.XDG_CACHE_HOME) return join(env.XDG_CACHE_HOME, "arrwdb");
  const home = env.HOME ?? homedir();
  return platform === "darwin" ? join(home, "Library", "Caches", "arrwdb") : join(home, ".cache", "arrwdb");
}

async function fromEnvironment(env: NodeJS.ProcessEnv, note: (reason: string) => void) {
  const path = env.NATS_SERVER_BIN;
  if (!path) {
    note("not set");
    return undefined;
  }
  // A choice by name is never silently replaced by another server.
  const unusable = (why: string): ArrwError =>
    new ArrwError("FAILED_PRECONDITION", `NATS_SERVER_BIN=${path}: ${why}. ${WHAT_TO_DO}`, {
      reason: "NATS_SERVER_UNUSABLE",
    });
  const version = await readServerVersion(path).catch((error: NodeJS.ErrnoException) => {
    throw unusable(whyItDoesNotRun(error));
  });
  const old = tooOld(version);
  if (old !== undefined) throw unusable(old);
  return { path, version, source: "NATS_SERVER_BIN" };
}

async function fromPath(env: NodeJS.ProcessEnv, note: (reason: string) => void) {
  const reasons: string[] = [];
  for (const folder of (env.PATH ?? "").split(delimiter)) {
    const path = join(folder, "nats-server");
    if (folder === "" || !existsSync(path)) continue;
    try {
      const version = await readServerVersion(path);
      const old = tooOld(version);
      if (old === undefined) return { path, version, source: "PATH" };
      reasons.push(`${path}: ${old}`);
    } catch (error) {
      reasons.push(`${path}: ${whyItDoesNotRun(error as NodeJS.ErrnoException)}`);
    }
  }
  note(reasons.length > 0 ? reasons.join(", ") : "none there");
  return undefined;
}

const suffix = (options: FindOptions): string =>
  `-${options.platform ?? process.platform}-${options.arch ?? process.arch}`;

async function fromCache(cacheDir: string, options: FindOptions, note: (reason: string) => void) {
  const names = await readdir(cacheDir).catch(() => [] as string[]);
  const versions = names
    .filter((name) => name.startsWith("nats-server-") && name.endsWith(suffix(options)))
    .map((name) => name.slice("nats-server-".length, -suffix(options).length))
    .filter((version) => /^\d+\.\d+\.\d+$/.test(version))
    .sort((a, b) => compareVersions(b, a));
  const reasons: string[] = [];
  for (const each of versions) {
    const path = join(cacheDir, `nats-server-${each}${suffix(options)}`, "nats-server");
    try {
      const version = await readServerVersion(path);
      const old = tooOld(version);
      if (old === undefined) return { path, version, source: "cache" };
      reasons.push(old);
    } catch (error) {
      reasons.push(`${path}: ${whyItDoesNotRun(error as NodeJS.ErrnoException)}`);
    }
  }
  note(reasons.length > 0 ? reasons.join(", ") : `none in ${cacheDir}`);
  return undefined;
}

async function fromRelease(cacheDir: string, options: FindOptions): Promise<NatsServerBinary> {
  return download(cacheDir, options, "release", (workDir) =>
    extractRelease({
      version: options.version ?? PINNED_SERVER_VERSION,
      platform: options.platform ?? process.platform,
      arch: options.arch ?? process.arch,
      workDir,
      connectTimeoutMs: options.connectTimeoutMs ?? 3_000,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(options.releasesUrl === undefined ? {} : { baseUrl: options.releasesUrl }),
    }),
  );
}

async function fromDebian(cacheDir: string, options: FindOptions): Promise<NatsServerBinary> {
  return download(cacheDir, options, "debian", (workDir) =>
    extractDebianPackage({
      ...options.debian,
      workDir,
      env: options.env ?? process.env,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }),
  );
}

/** Gets a binary in a folder of its own and moves it into the cache in one step: launches may run side by side. */
async function download(
  cacheDir: string,
  options: FindOptions,
  source: string,
  extract: (workDir: string) => Promise<string>,
): Promise<NatsServerBinary> {
  options.log?.info({ source }, "getting nats-server");
  await mkdir(cacheDir, { recursive: true });
  const workDir = await mkdtemp(join(cacheDir, ".download-"));
  try {
    const extracted = await extract(workDir);
    await chmod(extracted, 0o755);
    const version = await readServerVersion(extracted).catch((error: NodeJS.ErrnoException) => {
      throw new Error(whyItDoesNotRun(error));
    });
    const old = tooOld(version);
    if (old !== undefined) throw new Error(old);
    const folder = join(cacheDir, `nats-server-${version}${suffix(options)}`);
    const staged = join(workDir, "staged");
    await mkdir(staged);
    await rename(extracted, join(staged, "nats-server"));
    await replaceFolder(staged, folder);
    return { path: join(folder, "nats-server"), version, source };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

async function replaceFolder(staged: string, folder: string): Promise<void> {
  const taken = (error: NodeJS.ErrnoException): void => {
    if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST" && error.code !== "ENOTDIR") throw error;
  };
  let moved = true;
  await rename(staged, folder).catch((error: NodeJS.ErrnoException) => {
    taken(error);
    moved = false;
  });
  if (moved) return;
  // Another launch was first: use its copy. One that doesn't run was left by an accident: replace it.
  const works = await readServerVersion(join(folder, "nats-server")).then(
    () => true,
    () => false,
  );
  if (works) return;
  await rename(folder, join(dirname(staged), "broken"));
  await rename(staged, folder).catch(taken);
}

function whyItDoesNotRun(error: NodeJS.ErrnoException): string {
  if (error.code === "ENOENT") return "no such file";
  if (error.code === "EACCES") return "not an executable file";
  return `doesn't run: ${error.message.trim().split("\n").slice(-1)[0]?.slice(0, 200) ?? "unknown"}`;
}
