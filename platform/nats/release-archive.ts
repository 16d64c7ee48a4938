import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { promisify } from "node:util";

const execute = promisify(execFile);
const DOWNLOAD_TIMEOUT_MS = 300_000;
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: "amd64",
  arm64: "arm64",
  arm: "arm7",
  ia32: "386",
};

export const RELEASES_URL = "https://github.com/nats-io/nats-server/releases/download";

export interface ReleaseOptions {
  readonly version: string;
  /** As `process.platform`: linux or darwin. */
  readonly platform: string;
  /** As `process.arch`. */
  readonly arch: string;
  /** A folder of this download alone. */
  readonly workDir: string;
  readonly connectTimeoutMs: number;
  readonly baseUrl?: string;
  readonly signal?: AbortSignal;
}

/**
 * Downloads an official release archive, compares it with the release's SHA256SUMS and unpacks it.
 * @returns path of the binary
 * @throws Error with the reason in one line
 */
export async function extractRelease(options: ReleaseOptions): Promise<string> {
  const { version, platform, arch, workDir, baseUrl = RELEASES_URL } = options;
  const architecture = ARCHITECTURES[arch];
  if (architecture === undefined || (platform !== "linux" && platform !== "darwin")) {
    throw new Error(`no release archive for ${platform} on ${arch}`);
  }
  const folder = `nats-server-v${version}-${platform}-${architecture}`;
  const base = `${baseUrl}/v${version}`;
  await reach(new URL(base), options.connectTimeoutMs);
  const end = new AbortController();
  const timer = setTimeout(
    () => end.abort(new Error(`no download within ${DOWNLOAD_TIMEOUT_MS / 1_000} s`)),
    DOWNLOAD_TIMEOUT_MS,
  );
  const onAbort = (): void => end.abort(options.signal?.reason);
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await fetchVerified(base, folder, workDir, end.signal);
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
  }
}

async function fetchVerified(
  base: string,
  folder: string,
  workDir: string,
  signal: AbortSignal,
): Promise<string> {
  const archive = `${folder}.tar.gz`;
  const sums = await (await get(`${base}/SHA256SUMS`, signal)).text();
  const expected = checksumOf(sums, archive);
  if (expected === undefined) throw new Error(`${archive} is not in the release's SHA256SUMS`);
  const file = join(workDir, archive);
  const actual = await save(await get(`${base}/${archive}`, signal), file);
  if (actual !== expected) {
    throw new Error(`${archive}: its SHA-256 is ${actual}, the release says ${expected}; not used`);
  }
  await execute("tar", ["-xzf", file, "-C", workDir, `${folder}/nats-server`]);
  return join(workDir, folder, "nats-server");
}

/** The hex digest that a SHA256SUMS file gives for a file. */
export function checksumOf(sums: string, file: string): string | undefined {
  const lines = sums.split("\n").map((line) => /^([0-9a-f]{64})[ *]+(?:\.\/)?(\S+)\s*$/i.exec(line));
  return lines.find((match) => match?.[2] === file)?.[1]?.toLowerCase();
}

/** Without a network `fetch` may hang for a long time; this fails within the time-out. */
async function reach(url: URL, timeoutMs: number): Promise<void> {
  const port = url.port === "" ? (url.protocol === "http:" ? 80 : 443) : Number(url.port);
  const socket = connect({ host: url.hostname, port });
  try {
    await new Promise<void>((resolve, reject) => {
      const refuse = (reason: string): void => reject(new Error(`cannot connect to ${url.host} (${reason})`));
      const timer = setTimeout(() => refuse(`no answer within ${timeoutMs / 1_000} s`), timeoutMs);
      socket.once("connect", () => {
        clearTimeout(timer);
        resolve();
      });
      socket.once("error", (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        refuse(error.code ?? error.message);
      });
    });
  } finally {
    socket.on("error", () => undefined);
    socket.destroy();
  }
}

async function get(url: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { signal });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`${url}: HTTP ${response.status}`);
  }
  return response;
}

async function save(response: Response, file: string): Promise<string> {
  if (!response.body) throw new Error(`${response.url}: empty answer`);
  const hash = createHash("sha256");
  const hashing = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      done(null, chunk);
    },
  });
  await pipeline(Readable.fromWeb(response.body as ReadableStream), hashing, createWriteStream(file));
  return hash.digest("hex");
}
