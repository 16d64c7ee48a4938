import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { rewriteList, rewriteSources } from "./apt-sources.ts";

const execute = promisify(execFile);
const SUITE = "sid";
const UPDATE_TIMEOUT_MS = 120_000;

export interface DebianOptions {
  /** A folder of this download alone. */
  readonly workDir: string;
  /** Where apt's source lists are; default /etc/apt. */
  readonly aptDir?: string;
  /** Default /etc/os-release. */
  readonly osRelease?: string;
  /** Default `process.env`; its PATH says where apt-get and dpkg-deb are. */
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
}

/**
 * Takes nats-server from Debian's archive without root and without touching the system: apt with a private state,
 * cache and source list (the machine's own with the suite replaced), which checks the archive's signature; then
 * the package is unpacked, not installed.
 * @returns path of the binary
 * @throws Error with the reason in one line
 */
export async function extractDebianPackage(options: DebianOptions): Promise<string> {
  const { workDir, aptDir = "/etc/apt", osRelease = "/etc/os-release" } = options;
  const release = parseOsRelease(await readFile(osRelease, "utf8").catch(() => ""));
  if (release.get("ID") !== "debian") throw new Error("not a Debian system");
  const folders = [
    "state/lists/partial",
    "cache/archives/partial",
    "sources",
    "preferences",
    "package",
    "root",
  ];
  for (const folder of folders) await mkdir(join(workDir, folder), { recursive: true });
  const copied = await copySources(aptDir, join(workDir, "sources"), release.get("VERSION_CODENAME"));
  if (copied === 0) throw new Error(`no source of Debian's archive in ${aptDir}`);
  const config = join(workDir, "apt.conf");
  await writeFile(config, aptConfig(workDir));
  const env = { ...(options.env ?? process.env), LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" };
  const run = async (command: string, args: string[]): Promise<void> => {
    await execute(command, args, {
      cwd: join(workDir, "package"),
      env,
      timeout: UPDATE_TIMEOUT_MS,
      maxBuffer: 16_777_216,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    }).catch((error: NodeJS.ErrnoException & { stderr?: string }) => {
      throw new Error(`${command} ${args.at(-2) ?? ""}: ${firstError(error)}`);
    });
  };
  await run("apt-get", ["-c", config, "-q", "update", "--error-on=any"]);
  await run("apt-get", ["-c", config, "-q", "download", "nats-server"]);
  const file = (await readdir(join(workDir, "package"))).find((name) => name.endsWith(".deb"));
  if (file === undefined) throw new Error("apt-get download left no package");
  await run("dpkg-deb", ["-x", file, join(workDir, "root")]);
  const binary = ["usr/sbin", "usr/bin"].map((folder) => join(workDir, "root", folder, "nats-server"));
  const found = binary.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`no nats-server in ${basename(file)}`);
  return found;
}

function firstError(error: NodeJS.ErrnoException & { stderr?: string }): string {
  if (error.code === "ENOENT") return "no such program";
  const lines = (error.stderr ?? "").split("\n");
  const line =
    lines.find((each) => /^(E:|Err:|dpkg-deb: error)/.test(each)) ?? lines.find((each) => each !== "");
  return (line ?? error.message.split("\n")[0] ?? "failed").slice(0, 300);
}

/** @returns number of files that have a source left */
async function copySources(aptDir: string, into: string, codename: string | undefined): Promise<number> {
  const parts = await readdir(join(aptDir, "sources.list.d")).catch(() => [] as string[]);
  const files = [
    join(aptDir, "sources.list"),
    ...parts.sort().map((name) => join(aptDir, "sources.list.d", name)),
  ];
  let copied = 0;
  for (const file of files) {
    const rewrite = file.endsWith(".sources")
      ? rewriteSources
      : file.endsWith(".list")
        ? rewriteList
        : undefined;
    if (rewrite === undefined) continue;
    const text = rewrite(await readFile(file, "utf8").catch(() => ""), SUITE, codename);
    if (text === "") continue;
    await writeFile(join(into, basename(file)), `${text}\n`);
    copied += 1;
  }
  return copied;
}

/** Read last by apt, so that it overrides the system's; the system's hooks would need root. */
function aptConfig(workDir: string): string {
  const value = (path: string): string => `"${join(workDir, path)}"`;
  return [
    "#clear APT::Update::Pre-Invoke;",
    "#clear APT::Update::Post-Invoke;",
    "#clear APT::Update::Post-Invoke-Success;",
    `Dir::State ${value("state")};`,
    `Dir::Cache ${value("cache")};`,
    `Dir::Etc::SourceList "/dev/null";`,
    `Dir::Etc::SourceParts ${value("sources")};`,
    `Dir::Etc::Preferences "/dev/null";`,
    `Dir::Etc::PreferencesParts ${value("preferences")};`,
    // As root apt would switch to a user that may not enter the folder; as anybody else it stays who it is.
    `APT::Sandbox::User "root";`,
    `APT::Get::AllowUnauthenticated "false";`,
    `Acquire::AllowInsecureRepositories "false";`,
    `Acquire::Languages "none";`,
    `Acquire::Retries "1";`,
    `Acquire::http::Timeout "10";`,
    `Acquire::https::Timeout "10";`,
    "",
  ].join("\n");
}

function parseOsRelease(text: string): Map<string, string> {
  const pairs = text.split("\n").flatMap((line) => {
    const match = /^([A-Z_]+)=["']?(.*?)["']?$/.exec(line);
    return match ? [[match[1] ?? "", match[2] ?? ""] as const] : [];
  });
  return new Map(pairs);
}
