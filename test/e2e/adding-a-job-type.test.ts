import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { JobServiceClient } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { follow, stepsOf } from "../support/followed-document.ts";
import { tempDir } from "../support/temp.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SOURCES = ["platform", "services", "cli", "client", "proto"];
const FILES = ["package.json", ".npmrc", "tsconfig.json", "buf.yaml", "buf.gen.yaml"];
/** buf reads these as parts of the workspace, so they must be in it. */
const COPIED_PACKAGES = ["grpc-health-check", "@grpc/reflection"];
const MINUTE_MS = 60_000;

/** A tree of its own that shares the installed packages. */
async function copyTree(root: string): Promise<void> {
  for (const name of [...SOURCES, ...FILES])
    await cp(join(ROOT, name), join(root, name), { recursive: true });
  const packages = (await readdir(join(ROOT, "node_modules"))).filter((name) => name !== "@grpc");
  const scoped = (await readdir(join(ROOT, "node_modules/@grpc"))).map((name) => `@grpc/${name}`);
  await mkdir(join(root, "node_modules/@grpc"), { recursive: true });
  for (const name of [...packages, ...scoped]) {
    const [from, to] = [join(ROOT, "node_modules", name), join(root, "node_modules", name)];
    if (COPIED_PACKAGES.includes(name)) await cp(from, to, { recursive: true });
    else await symlink(from, to);
  }
}

/** Runs a command in the tree; its output is the failure's message. */
async function run(root: string, command: string, args: readonly string[]): Promise<void> {
  const env = { ...process.env };
  // node:test refuses to run within node:test.
  delete env.NODE_TEST_CONTEXT;
  await promisify(execFile)(command, args, { cwd: root, env, timeout: MINUTE_MS }).catch((error: unknown) => {
    const { stdout, stderr, message } = error as { stdout?: string; stderr?: string; message: string };
    assert.fail(`${command} ${args.join(" ")}: ${message}\n${stdout ?? ""}\n${stderr ?? ""}`);
  });
}

/** A job as the tree's own generated code decodes it. */
interface CountedJob {
  readonly type: string;
  readonly result?: {
    readonly result?: { readonly $case: string; readonly value: { readonly words: bigint } };
  };
}

/** Starts the system from the tree, submits a word_count, and watches it to its end. */
async function countWords(root: string, texts: readonly string[]): Promise<CountedJob> {
  const load = (file: string) => import(pathToFileURL(join(root, file)).href);
  const { startSystem }: typeof import("../../cli/supervisor.ts") = await load("cli/supervisor.ts");
  const { connect, serverStream, unary }: typeof import("../../platform/grpc/client.ts") =
    await load("platform/grpc/client.ts");
  const { JobServiceClient: Client, SubmitJobRequest } = await load("proto/gen/arrwdb/v1/jobs.ts");
  const system = await startSystem({ temporary: true, syncAlways: false });
  const client: JobServiceClient = connect(Client, system.address);
  try {
    const request = SubmitJobRequest.fromPartial({
      spec: { spec: { $case: "wordCount", value: { texts } } },
    });
    const { job } = await unary(client, client.submitJob, request, { timeoutMs: MINUTE_MS });
    let last: unknown;
    const watch = { jobId: job?.jobId ?? "", afterRevision: 0n };
    for await (const message of serverStream(client, client.watchJob, watch, { timeoutMs: MINUTE_MS })) {
      last = message.job;
    }
    return last as CountedJob;
  } finally {
    client.close();
    await system.stop();
  }
}

test("docs/adding-a-job-type.md, followed to the letter, gives a job type that works", async (t) => {
  const root = await tempDir(t);
  await copyTree(root);
  const steps = stepsOf(await readFile(join(ROOT, "docs/adding-a-job-type.md"), "utf8"));
  assert.ok(steps.length >= 10, `${steps.length} steps`);
  for (const step of steps) await follow(root, step);
  await run(root, "npm", ["run", "--silent", "generate"]);
  const tests = steps.map(({ file }) => file).filter((file) => file.endsWith(".test.ts"));
  assert.equal(tests.length, 1);
  const tsconfig = { extends: "./tsconfig.json", include: ["platform", "services", "proto/gen", ...tests] };
  await writeFile(join(root, "tsconfig.followed.json"), JSON.stringify(tsconfig));
  await run(root, process.execPath, ["node_modules/typescript/bin/tsc", "-p", "tsconfig.followed.json"]);
  await run(root, process.execPath, ["--import", "tsx", "--test", ...tests]);
  const job = await countWords(root, ["one two", "three"]);
  assert.equal(job.type, "word_count");
  assert.equal(job.result?.result?.$case, "wordCount");
  assert.equal(job.result.result.value.words, 3n);
});
