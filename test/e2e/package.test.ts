import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startSystem } from "../../cli/supervisor.ts";
import { type CliResult, finished, REPOSITORY, userEnv } from "../support/arrw.ts";
import { tempDir } from "../support/temp.ts";

/** The package as others get it: packed, installed in an empty folder, used by a program of theirs. */

/** The program of docs/client.md. */
function documentedProgram(): string {
  const text = readFileSync(join(REPOSITORY, "docs/client.md"), "utf8");
  const program = /^```ts\n(.*?)^```$/ms.exec(text)?.[1];
  assert.ok(program);
  return program;
}

const TYPES = `
import { ArrwClient } from "arrwdb-jobs";
// @ts-expect-error The types are there: an address is no number.
export const wrong: number = new ArrwClient().address;
`;
const CONFIG = {
  compilerOptions: {
    module: "nodenext",
    target: "es2022",
    strict: true,
    skipLibCheck: true,
    types: ["node"],
    typeRoots: [join(REPOSITORY, "node_modules/@types")],
  },
  files: ["program.ts", "types.ts"],
};

test("a program imports the installed package and runs against a system, as does its command", async (t) => {
  const folder = await tempDir(t);
  const starting = startSystem({ env: userEnv(), temporary: true, syncAlways: false });
  t.after(async () => (await starting).stop());
  await install(folder);
  await writeFile(join(folder, "program.ts"), documentedProgram());
  await writeFile(join(folder, "types.ts"), TYPES);
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(CONFIG));
  const compiler = fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url));
  await succeeds(run(process.execPath, [compiler, "-p", "."], folder));

  const { address } = await starting;
  const settings = { ARRW_ADDRESS: address };
  const shown = await succeeds(run(process.execPath, ["program.js"], folder, settings));
  assert.equal(shown, "COMPLETED 10n\nd7 text number 7\n");
  const arrw = join(folder, "node_modules/.bin/arrw");
  assert.match(await succeeds(run(arrw, ["jobs", "list"], folder, settings)), / completed +batch_import /);
});

/** What a user would do, without looking up what is known already. */
async function install(folder: string): Promise<void> {
  await succeeds(run("npm", ["pack", "--silent", "--pack-destination", folder], REPOSITORY));
  const tarball = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
  assert.ok(tarball);
  await writeFile(join(folder, "package.json"), JSON.stringify({ private: true, type: "module" }));
  const quick = ["--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await succeeds(run("npm", ["install", ...quick, `./${tarball}`], folder));
}

function run(
  command: string,
  args: readonly string[],
  cwd: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<CliResult> {
  return finished(spawn(command, args, { cwd, env: userEnv(settings), stdio: ["pipe", "pipe", "pipe"] }));
}

async function succeeds(running: Promise<CliResult>): Promise<string> {
  const { code, stdout, stderr } = await running;
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return stdout;
}
