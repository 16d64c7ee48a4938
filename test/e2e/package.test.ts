import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startSystem } from "../../cli/supervisor.ts";
import { type CliResult, finished, REPOSITORY, userEnv } from "../support/arrw.ts";
import { tempDir } from "../support/temp.ts";

/** The package as others get it: packed, installed in an empty folder, used by a program of theirs. */

const PROGRAM = `
import { ArrwClient, ClientError, type DocumentInput, isTerminal, optionsFromEnvironment, statusName } from "arrwdb-jobs";

async function* documents(): AsyncGenerator<DocumentInput> {
  for (let i = 0; i < 10; i++) yield { documentId: \`d\${i}\`, texts: [\`text number \${i}\`] };
}

const client = new ArrwClient(optionsFromEnvironment());
// @ts-expect-error The types are there: an address is no number.
const wrong: number = client.address;
try {
  const { libraryId } = await client.createLibrary({ name: "package" });
  const { jobId } = await client.importDocuments(libraryId, documents());
  for await (const job of client.watch(jobId)) if (isTerminal(job)) console.log(statusName(job.status));
  const { hits } = await client.search(libraryId, "number 7", { k: 1 });
  console.log(hits[0]?.documentId, typeof wrong);
  await client.getLibrary("none");
} catch (error) {
  console.log(error instanceof ClientError && error.reason);
} finally {
  client.close();
}
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
  files: ["program.ts"],
};

test("a program imports the installed package and runs against a system, as does its command", async (t) => {
  const folder = await tempDir(t);
  const starting = startSystem({ env: userEnv(), temporary: true, syncAlways: false });
  t.after(async () => (await starting).stop());
  await install(folder);
  await writeFile(join(folder, "program.ts"), PROGRAM);
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(CONFIG));
  const compiler = fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url));
  await succeeds(run(process.execPath, [compiler, "-p", "."], folder));

  const { address } = await starting;
  const settings = { ARRW_ADDRESS: address };
  const shown = await succeeds(run(process.execPath, ["program.js"], folder, settings));
  assert.equal(shown, "COMPLETED\nd7 string\nLIBRARY_NOT_FOUND\n");
  const arrw = join(folder, "node_modules/.bin/arrw");
  assert.match(await succeeds(run(arrw, ["library", "list"], folder, settings)), /^package +10 /m);
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
