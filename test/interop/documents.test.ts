import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { ArrwClient } from "../../client/index.ts";
import { eventually } from "../support/eventually.ts";
import { tempDir } from "../support/temp.ts";
import { type Ran, run } from "./command.ts";
import {
  type Command,
  type Placeholders,
  placeholdersAfter,
  shellBlocks,
  withAddresses,
  withPlaceholders,
} from "./shell-blocks.ts";
import { goToolsFolder, grpcAddress, httpAddress, ROOT } from "./target.ts";
import { withPath } from "./tools.ts";

const DOCUMENTS = ["README.md", "docs/api.md", "docs/client.md", "docs/cli.md"];
const SLOW_SECONDS = 3;
const NOT_LINKED = new Set([".git", "data", "dist"]);

// npx takes as long as the command; node.test.ts shows that it finds it.
const NPX = `#!/bin/sh\n[ "$1" = arrw ] && shift && exec "${process.execPath}" "${ROOT}cli/arrw.js" "$@"\nexit 127\n`;

/** A folder that looks like a clone, and keeps what the commands write out of this one. */
async function cloneLike(t: TestContext): Promise<string> {
  const folder = await tempDir(t);
  mkdirSync(join(folder, ".bin"));
  writeFileSync(join(folder, ".bin/npx"), NPX, { mode: 0o755 });
  // An answer that is an error fails the command.
  writeFileSync(join(folder, ".bin/.curlrc"), "fail-with-body\nsilent\nshow-error\n");
  for (const name of readdirSync(ROOT)) {
    if (!NOT_LINKED.has(name)) symlinkSync(join(ROOT, name), join(folder, name));
  }
  return folder;
}

class Shell {
  readonly #cwd: string;
  readonly #env: NodeJS.ProcessEnv;

  constructor(cwd: string) {
    this.#cwd = cwd;
    const found = withPath(join(cwd, ".bin"), withPath(goToolsFolder()));
    this.#env = { ...found, ARRW_ADDRESS: grpcAddress(), CURL_HOME: join(cwd, ".bin"), NO_COLOR: "1" };
    // They are this test's own, and would be the commands'.
    for (const name of Object.keys(this.#env)) {
      if (name.startsWith("NODE_TEST") || name.startsWith("npm_")) delete this.#env[name];
    }
  }

  run(command: string): Promise<Ran> {
    return run("bash", ["-c", command], { cwd: this.#cwd, env: this.#env });
  }

  /** Interrupts the command once it has printed something. */
  async interrupt(command: string): Promise<Ran> {
    const child = spawn("bash", ["-c", command], { cwd: this.#cwd, env: this.#env, detached: true });
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    let printed = false;
    child.stdout.once("data", () => {
      printed = true;
    });
    const client = new ArrwClient({ address: grpcAddress() });
    try {
      const ready = async (): Promise<boolean> => {
        await happen(client, command);
        return printed || child.exitCode !== null;
      };
      await eventually(ready, { intervalMs: 300, timeoutMs: 30_000, what: `output of ${command}` });
    } finally {
      client.close();
      if (child.exitCode === null) process.kill(-(child.pid ?? 0), "SIGINT");
    }
    const code = await ended;
    const [stdout, stderr] = await output;
    return { code, stdout, stderr };
  }
}

/** A job and, in the libraries that the command names, a document: for a watch to have something to show. */
async function happen(client: ArrwClient, command: string): Promise<void> {
  await client.submit({ spec: { spec: { $case: "echo", value: { message: "watched" } } } });
  for await (const { libraryId } of client.libraries()) {
    if (!command.split(/[\s"]+/).includes(libraryId)) continue;
    await client.importDocuments(libraryId, [{ documentId: "watched", texts: ["seen"] }]);
  }
}

/** Runs one command and checks how it ended. */
async function check(shell: Shell, command: Command, values: Placeholders): Promise<string> {
  const given = withPlaceholders(command.text, values);
  const here = withAddresses(given, grpcAddress(), httpAddress().replace("http://", ""));
  const ran = await (command.untilInterrupted ? shell.interrupt(here) : shell.run(here));
  const { code, stdout, stderr } = ran;
  const said = `line ${command.line}: ${here}\nended with ${code}\n${stdout.slice(-2_000)}\n${stderr.slice(-2_000)}`;
  if (command.untilInterrupted) assert.notEqual(stdout, "", said);
  else if (command.failure !== undefined) {
    assert.notEqual(code, 0, said);
    assert.ok(`${stdout}${stderr}`.includes(command.failure), said);
  } else assert.equal(code, 0, said);
  return stdout;
}

for (const name of DOCUMENTS) {
  const path = join(ROOT, name);
  if (!existsSync(path)) continue;
  test(`${name}: its commands do what it says`, async (t) => {
    const shell = new Shell(await cloneLike(t));
    let values: Placeholders = {};
    let ran = 0;
    const notRun: string[] = [];
    for (const block of shellBlocks(readFileSync(path, "utf8"))) {
      if (block.notRun !== undefined) {
        notRun.push(block.notRun);
        continue;
      }
      for (const command of block.commands) {
        const began = performance.now();
        values = placeholdersAfter(await check(shell, command, values), values);
        ran += 1;
        const seconds = (performance.now() - began) / 1_000;
        if (seconds > SLOW_SECONDS) t.diagnostic(`${seconds.toFixed(1)} s: ${command.text}`);
      }
    }
    t.diagnostic(`${name}: ${ran} commands run, ${notRun.length} blocks not: ${notRun.join("; ")}`);
  });
}
