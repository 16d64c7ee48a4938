import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type FindOptions, findNatsServer } from "../../platform/nats/launcher.ts";
import { tempDir } from "../support/temp.ts";

/** A stand-in that answers `--version`. */
async function writeServer(folder: string, version: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, "nats-server");
  await writeFile(path, `#!/bin/sh\necho "nats-server: v${version}"\n`);
  await chmod(path, 0o755);
  return path;
}

/** Nothing of this machine: no PATH, an empty cache, releases at a port where nothing answers, no Debian. */
async function nothing(t: TestContext): Promise<FindOptions & { cacheDir: string; folder: string }> {
  const folder = await tempDir(t);
  return {
    folder,
    env: { PATH: join(folder, "bin") },
    cacheDir: join(folder, "cache"),
    releasesUrl: "http://127.0.0.1:1",
    platform: "linux",
    arch: "x64",
    debian: { osRelease: join(folder, "none") },
  };
}

const cached = (options: { cacheDir: string }, version: string, platform = "linux-x64"): string =>
  join(options.cacheDir, `nats-server-${version}-${platform}`);

test("NATS_SERVER_BIN comes first", async (t) => {
  const options = await nothing(t);
  await writeServer(join(options.folder, "bin"), "2.12.0");
  const path = await writeServer(join(options.folder, "own"), "2.11.3");
  const found = await findNatsServer({ ...options, env: { ...options.env, NATS_SERVER_BIN: path } });
  assert.deepEqual(found, { path, version: "2.11.3", source: "NATS_SERVER_BIN" });
});

test("a NATS_SERVER_BIN that can't be used is refused, not replaced", async (t) => {
  const options = await nothing(t);
  await writeServer(join(options.folder, "bin"), "2.12.0");
  const old = await writeServer(join(options.folder, "old"), "2.9.10");
  const text = join(options.folder, "text");
  await writeFile(text, "not a program");
  const cases = [
    [old, /NATS_SERVER_BIN=.*nats-server 2\.9\.10 is too old, 2\.10 or newer is needed\. Install one/],
    [join(options.folder, "missing"), /NATS_SERVER_BIN=.*no such file/],
    [text, /NATS_SERVER_BIN=.*not an executable file/],
  ] as const;
  for (const [path, message] of cases) {
    const env = { ...options.env, NATS_SERVER_BIN: path };
    await assert.rejects(findNatsServer({ ...options, env }), { reason: "NATS_SERVER_UNUSABLE", message });
  }
});

test("PATH: one that is too old is passed over", async (t) => {
  const options = await nothing(t);
  const [first, second] = [join(options.folder, "a"), join(options.folder, "b")];
  await writeServer(first, "2.9.10");
  const path = await writeServer(second, "2.10.27");
  const found = await findNatsServer({ ...options, env: { PATH: `${first}:${second}` } });
  assert.deepEqual(found, { path, version: "2.10.27", source: "PATH" });
});

test("cache: the newest that runs, of this platform", async (t) => {
  const options = await nothing(t);
  await writeServer(cached(options, "2.9.10"), "2.9.10");
  const path = await writeServer(cached(options, "2.10.4"), "2.10.4");
  await writeServer(cached(options, "2.16.0", "darwin-arm64"), "2.16.0");
  await mkdir(cached(options, "2.15.1"), { recursive: true });
  const found = await findNatsServer(options);
  assert.deepEqual(found, { path, version: "2.10.4", source: "cache" });
});

/** Release archives over HTTP as the project publishes them; `corrupt` changes a byte after the sums were made. */
async function serveRelease(t: TestContext, folder: string, version: string, corrupt = false) {
  const name = `nats-server-v${version}-linux-amd64`;
  await writeServer(join(folder, "release", name), version);
  const archive = join(folder, `${name}.tar.gz`);
  execFileSync("tar", ["-czf", archive, "-C", join(folder, "release"), name]);
  const body = await readFile(archive);
  const sums = `${createHash("sha256").update(body).digest("hex")}  ${name}.tar.gz\n`;
  if (corrupt) body[body.length - 1] = (body[body.length - 1] ?? 0) ^ 1;
  const requests: string[] = [];
  const server = createServer((request, response) => {
    requests.push(request.url ?? "");
    if (request.url === `/v${version}/SHA256SUMS`) return response.end(sums);
    if (request.url === `/v${version}/${name}.tar.gz`) return response.end(body);
    return response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

test("release: downloaded, verified, kept in the cache; launches side by side leave one copy", async (t) => {
  const options = await nothing(t);
  const release = await serveRelease(t, options.folder, "2.15.1");
  const all = await Promise.all(
    [1, 2, 3, 4].map(() => findNatsServer({ ...options, releasesUrl: release.url })),
  );
  for (const found of all) {
    assert.deepEqual([found.version, found.path], ["2.15.1", join(cached(options, "2.15.1"), "nats-server")]);
  }
  assert.equal(all[0]?.source, "release");
  assert.deepEqual(await readdir(options.cacheDir), ["nats-server-2.15.1-linux-x64"]);
  const requests = release.requests.length;
  assert.equal((await findNatsServer({ ...options, releasesUrl: release.url })).source, "cache");
  assert.equal(release.requests.length, requests);
});

test("release: one whose checksum differs is refused and leaves nothing", async (t) => {
  const options = await nothing(t);
  const release = await serveRelease(t, options.folder, "2.15.1", true);
  await assert.rejects(findNatsServer({ ...options, releasesUrl: release.url }), {
    reason: "NATS_SERVER_NOT_FOUND",
    message:
      /release: nats-server-v2\.15\.1-linux-amd64\.tar\.gz: its SHA-256 is [0-9a-f]{64}, the release says/,
  });
  assert.deepEqual(await readdir(options.cacheDir), []);
});

test("release: a copy in the cache that doesn't run is replaced", async (t) => {
  const options = await nothing(t);
  await mkdir(cached(options, "2.15.1"), { recursive: true });
  await writeFile(join(cached(options, "2.15.1"), "nats-server"), "half a download");
  const release = await serveRelease(t, options.folder, "2.15.1");
  const found = await findNatsServer({ ...options, releasesUrl: release.url });
  assert.deepEqual([found.source, found.version], ["release", "2.15.1"]);
  assert.equal((await findNatsServer(options)).source, "cache");
  assert.deepEqual(await readdir(options.cacheDir), ["nats-server-2.15.1-linux-x64"]);
});

/** Programs that write down how they were called and do what apt-get and dpkg-deb would. */
async function fakeApt(folder: string): Promise<void> {
  const write = async (name: string, script: string): Promise<void> => {
    await writeFile(join(folder, "bin", name), `#!/bin/sh\nPATH=/usr/bin:/bin\n${script}`);
    await chmod(join(folder, "bin", name), 0o755);
  };
  await mkdir(join(folder, "bin"), { recursive: true });
  await mkdir(join(folder, "seen"));
  await write(
    "apt-get",
    `echo "$*" >> ${folder}/seen/calls
if [ "$4" = update ]; then cp "$2" ${folder}/seen/apt.conf; cp ../sources/* ${folder}/seen/; fi
if [ "$4" = download ]; then echo package > nats-server_2.14.0-1_amd64.deb; fi
`,
  );
  await write(
    "dpkg-deb",
    `mkdir -p "$3/usr/sbin"
printf '#!/bin/sh\\necho nats-server: v2.14.0\\n' > "$3/usr/sbin/nats-server"
`,
  );
}

test("debian: apt with a source list made of the machine's own, nothing else of the system touched", async (t) => {
  const options = await nothing(t);
  const { folder } = options;
  await fakeApt(folder);
  const aptDir = join(folder, "apt");
  await mkdir(join(aptDir, "sources.list.d"), { recursive: true });
  const stanza = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n";
  await writeFile(join(aptDir, "sources.list.d", "debian.sources"), stanza);
  await writeFile(
    join(aptDir, "sources.list.d", "vendor.list"),
    "deb https://vendor.example/apt nodistro main\n",
  );
  const osRelease = join(folder, "os-release");
  await writeFile(osRelease, 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian"\n');

  const found = await findNatsServer({ ...options, debian: { aptDir, osRelease } });
  assert.deepEqual(found, {
    path: join(cached(options, "2.14.0"), "nats-server"),
    version: "2.14.0",
    source: "debian",
  });
  assert.deepEqual((await readdir(join(folder, "seen"))).sort(), ["apt.conf", "calls", "debian.sources"]);
  assert.match(await readFile(join(folder, "seen", "debian.sources"), "utf8"), /^Suites: sid$/m);
  const conf = await readFile(join(folder, "seen", "apt.conf"), "utf8");
  for (const setting of ["Dir::State ", "Dir::Cache ", "Dir::Etc::SourceParts "]) {
    assert.ok(conf.includes(`${setting}"${options.cacheDir}/`), `${setting} is a folder of its own`);
  }
  assert.match(conf, /APT::Get::AllowUnauthenticated "false"/);
  assert.deepEqual(await readdir(options.cacheDir), ["nats-server-2.14.0-linux-x64"]);
});

test("nothing found: one line that lists what was tried and what to do", async (t) => {
  const options = await nothing(t);
  await writeServer(join(options.folder, "bin"), "2.9.10");
  await assert.rejects(findNatsServer(options), (error: Error & { reason?: string }) => {
    assert.equal(error.reason, "NATS_SERVER_NOT_FOUND");
    assert.doesNotMatch(error.message, /\n/);
    for (const part of [
      "NATS_SERVER_BIN: not set",
      "nats-server 2.9.10 is too old",
      `cache: none in ${options.cacheDir}`,
      "release: cannot connect to 127.0.0.1:1 (ECONNREFUSED)",
      "debian: not a Debian system",
      "brew install nats-server",
      "set NATS_SERVER_BIN",
    ]) {
      assert.ok(error.message.includes(part), `${part} in: ${error.message}`);
    }
    return true;
  });
});

test("a machine without release archives is told so", async (t) => {
  const options = await nothing(t);
  await assert.rejects(
    findNatsServer({ ...options, arch: "mips" }),
    /release: no release archive for linux on mips/,
  );
});
