import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { type System, startSystem } from "../../cli/supervisor.ts";
import { ArrwClient, JobStatus } from "../../client/index.ts";
import { freePort } from "../../platform/free-port.ts";
import {
  arrw,
  type CliResult,
  finished,
  REPOSITORY,
  spawnNode,
  startArrw,
  userEnv,
} from "../support/arrw.ts";
import { eventually } from "../support/eventually.ts";
import { tempDir } from "../support/temp.ts";

// One system for all tests here, each with libraries of its own: it takes seconds to start.
let system: System;
let client: ArrwClient;
before(async () => {
  system = await startSystem({ env: userEnv(), temporary: true, syncAlways: false });
  client = new ArrwClient({ address: system.address });
});
after(async () => {
  client.close();
  await system.stop();
});

async function run(args: readonly string[], input = ""): Promise<CliResult> {
  return arrw(system.address, args, input);
}

/** The objects that a command with --json prints. */
async function json(args: readonly string[], input = ""): Promise<Record<string, unknown>[]> {
  const { code, stdout, stderr } = await run([...args, "--json"], input);
  assert.equal(code, 0, stderr);
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

test("create, import a folder, search; importing it again replaces", async (t) => {
  const folder = await tempDir(t);
  await mkdir(join(folder, "sub"));
  await mkdir(join(folder, "node_modules"));
  await writeFile(join(folder, "whales.md"), "# Whales\n\nWhales sing in the deep of the sea.");
  await writeFile(join(folder, "sub", "LICENSE"), "Permission is hereby granted, free of charge.");
  await writeFile(join(folder, "empty.txt"), "");
  await writeFile(join(folder, "code.js"), "left out");
  await writeFile(join(folder, "node_modules", "x.md"), "left out");
  const created = await run(["library", "create", "sea"]);
  assert.equal(created.code, 0, created.stderr);
  assert.match(created.stdout, /^sea\n {2}id +\S+\n {2}embedding +hashing ngram-v1, 256 dimensions\n/);

  const first = await run(["import", "sea", folder, "--watch"]);
  assert.equal(first.code, 0, first.stderr);
  assert.match(
    first.stdout,
    /^2 documents sent, job \S+\ncompleted {2}2 documents, 2 chunks, in [\d.]+ s\n$/,
  );
  assert.match(first.stderr, /skipped empty\.txt: it is empty/);
  await writeFile(join(folder, "whales.md"), "Whales are mammals.");
  const updates = await json(["import", "sea", folder, "--watch"]);
  assert.equal(updates.at(-1)?.status, "COMPLETED");

  const titles: string[] = [];
  for await (const { title } of client.documents("sea")) titles.push(title);
  assert.deepEqual(titles.sort(), ["sub/LICENSE", "whales.md"]);
  const [hit] = await json(["search", "sea", "mammals", "-k", "1"]);
  assert.equal(hit?.text, "Whales are mammals.");
  const shown = await run(["search", "sea", "granted free of charge", "--exact"]);
  assert.match(shown.stdout, /^ 1 {2}0\.\d{3} {2}sub\/LICENSE\n {11}Permission is hereby granted/);
  const [library] = await json(["library", "get", "sea"]);
  assert.equal(library?.document_count, 2);
});

test("NDJSON comes from a file or from stdin; a bad line submits nothing", async (t) => {
  const folder = await tempDir(t);
  const file = join(folder, "documents.ndjson");
  const lines = [
    '{"document_id":"a","title":"A","texts":["one"],"metadata":{"n":1},"tags":["x"]}',
    '{"texts":["two"]}',
  ];
  await writeFile(file, lines.join("\n"));
  await client.createLibrary({ name: "lines" });
  assert.equal((await json(["import", "lines", file, "--watch"])).at(-1)?.item_count, 2);
  const document = await client.getDocument("lines", "a");
  assert.deepEqual([document.title, document.metadata, document.tags], ["A", { n: 1 }, ["x"]]);
  const piped = await run(["import", "lines", "-", "--watch"], '{"document_id":"a","texts":["new"]}\n');
  assert.equal(piped.code, 0, piped.stderr);
  assert.deepEqual((await client.getDocument("lines", "a")).texts, ["new"]);
  const { code, stderr } = await run(["import", "lines", "-"], '{"texts":["a"]}\n{"texts":1}\n');
  assert.equal(code, 2);
  assert.match(stderr, /^error: stdin, line 2: texts: /);
  assert.equal((await json(["jobs", "list", "--library", "lines"])).length, 2);
  assert.match((await run(["import", "lines", "-"], "")).stderr, /no documents to import/);
});

test("jobs are listed, shown and cancelled; a failed one gives exit code 1 and its reason", async () => {
  const labels = { test: "jobs" };
  const slow = await client.submit({
    labels,
    spec: { spec: { $case: "echo", value: { sleep: { seconds: 300 }, steps: 3_000 } } },
  });
  const bad = await client.submit({
    labels,
    spec: { spec: { $case: "echo", value: { failPermanently: true } } },
  });
  const watched = await run(["jobs", "watch", bad.jobId]);
  assert.equal(watched.code, 1);
  assert.match(watched.stderr, /failed {2}ECHO_FAILED: .+ \(1 attempt\)\n$/);
  const listed = await json(["jobs", "list", "--label", "test=jobs", "--status", "failed"]);
  assert.deepEqual(
    listed.map(({ job_id }) => job_id),
    [bad.jobId],
  );
  const table = await run(["jobs", "list", "--label", "test=jobs", "--type", "echo"]);
  assert.match(table.stdout, new RegExp(`\\n${slow.jobId} +running +echo +- `));
  const cancelled = await run(["jobs", "cancel", slow.jobId, "--reason", "enough"]);
  assert.equal(cancelled.code, 0, cancelled.stderr);
  const ended = await run(["jobs", "watch", slow.jobId]);
  assert.equal(ended.code, 1);
  assert.match(ended.stderr, /cancelled/);
  assert.match((await run(["jobs", "get", slow.jobId])).stdout, /^\S+ {2}cancelled\n {2}type +echo\n/);
  assert.match((await run(["stats"])).stdout, /slots +0 of 4 in use/);
});

test("all jobs that match are watched, a line or an object per event, until Ctrl-C", async () => {
  const labels = { test: "watched" };
  const { cursor } = await client.list({ pageSize: 1 });
  const filter = ["--label", "test=watched", "--status", "failed,completed", "--after", cursor];
  const lines = startArrw(system.address, ["jobs", "watch", ...filter]);
  const objects = startArrw(system.address, ["jobs", "watch", ...filter, "--json"]);
  const shown = [finished(lines), finished(objects)] as const;
  const both = [lines, objects].map(({ stdout }) => {
    const chunks: string[] = [];
    stdout?.on("data", (chunk) => chunks.push(String(chunk)));
    return chunks;
  });
  const submit = (failPermanently: boolean) =>
    client.submit({ labels, spec: { spec: { $case: "echo", value: { message: "hi", failPermanently } } } });
  const bad = await submit(true);
  await client.wait(bad.jobId);
  const good = await submit(false);
  await eventually(() => both.every((chunks) => chunks.join("").includes(good.jobId)), { timeoutMs: 20_000 });
  for (const child of [lines, objects]) child.kill("SIGINT");
  const [asLines, asObjects] = await Promise.all(shown);
  assert.deepEqual([asLines.code, asObjects.code], [130, 130]);
  assert.match(
    asLines.stdout,
    new RegExp(
      `  failed +${bad.jobId}  echo  ECHO_FAILED: .*\\n.*  completed +${good.jobId}  echo  "hi"\\n$`,
    ),
  );
  const events = asObjects.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    events.map(({ event, job }) => [event, job.job_id, job.status]),
    [
      ["job.failed", bad.jobId, "FAILED"],
      ["job.completed", good.jobId, "COMPLETED"],
    ],
  );
  assert.equal((await run(["jobs", "watch", bad.jobId, "--type", "echo"])).code, 2);
  const malformed = await run(["jobs", "watch", "--after", "nonsense"]);
  assert.match(malformed.stderr, /^error: --after: .*nonsense/);
});

test("Ctrl-C in a watch detaches, says how to go on, and leaves the job alone", async () => {
  const { jobId } = await client.submit({
    spec: { spec: { $case: "echo", value: { sleep: { seconds: 300 }, steps: 3_000 } } },
  });
  const watch = startArrw(system.address, ["jobs", "watch", jobId, "--json"]);
  const result = finished(watch);
  if (watch.stdout) await once(watch.stdout, "data");
  watch.kill("SIGINT");
  const { code, stderr } = await result;
  assert.equal(code, 130);
  assert.match(
    stderr,
    new RegExp(`detached; the job goes on\n.*arrw jobs watch ${jobId}\n.*arrw jobs cancel ${jobId}`),
  );
  assert.equal((await client.cancel(jobId)).cancelRequested, true);
  await client.wait(jobId);
});

test("a job's log is followed to the job's end, over its attempts, and read again after", async () => {
  const spec = { sleep: { seconds: 1 }, steps: 4, failTimes: 1 };
  const { jobId } = await client.submit({ spec: { spec: { $case: "echo", value: spec } } });
  const followed = await run(["jobs", "logs", jobId, "-f"]);
  assert.equal(followed.code, 0, followed.stderr);
  const lines = followed.stdout.trimEnd().split("\n");
  assert.equal(lines.length, 9);
  assert.match(lines[0] ?? "", /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} {2}info {3}step 1 of 4$/);
  assert.match(lines[4] ?? "", / error {2}attempt failed: ECHO_FAILED: attempt 1: the spec says/);
  assert.match(lines[8] ?? "", / info {3}attempt 2 {2}step 4 of 4$/);
  assert.equal((await client.get(jobId)).status, JobStatus.JOB_STATUS_COMPLETED);
  assert.equal((await run(["jobs", "logs", jobId])).stdout, followed.stdout);
  const last = (await json(["jobs", "logs", jobId])).at(-1);
  assert.deepEqual([last?.line, last?.level, last?.attempt], ["step 4 of 4", "info", 2]);
  const unknown = await run(["jobs", "logs", "nobody", "-f"]);
  assert.deepEqual([unknown.code, unknown.stdout], [4, ""]);
  assert.match(unknown.stderr, /nobody/);
});

test("Ctrl-C ends the following of a log, and leaves the job alone", async () => {
  const spec = { sleep: { seconds: 300 }, steps: 3_000 };
  const { jobId } = await client.submit({ spec: { spec: { $case: "echo", value: spec } } });
  const logs = startArrw(system.address, ["jobs", "logs", jobId, "--follow"]);
  const result = finished(logs);
  if (logs.stdout) await once(logs.stdout, "data");
  logs.kill("SIGINT");
  assert.equal((await result).code, 130);
  assert.equal((await client.cancel(jobId)).cancelRequested, true);
  await client.wait(jobId);
});

test("the log of an import names the documents that it refused", async () => {
  assert.equal((await run(["library", "create", "logged"])).code, 0);
  const documents = [
    { documentId: "good", texts: ["water boils"] },
    { documentId: "bad", texts: [] },
  ];
  const { jobId } = await client.importDocuments("logged", documents);
  await client.wait(jobId);
  const lines: string[] = [];
  for await (const { level, line } of client.jobLogs(jobId)) lines.push(`${level} ${line}`);
  assert.equal(lines[0], "info importing 2 documents");
  assert.match(lines[1] ?? "", /^warn document 1 is not imported: .+ ordinal=1 document_id=bad$/);
  assert.equal(lines[2], "info imported 1 documents, 1 chunks; 1 refused");
  assert.equal(lines.length, 3);
});

test("Ctrl-C while it reads stdin submits nothing and ends at once", async () => {
  await client.createLibrary({ name: "piped" });
  const child = startArrw(system.address, ["import", "piped", "-"]);
  // The input stays open.
  const stdout = child.stdout ? text(child.stdout) : "";
  const stderr = child.stderr ? text(child.stderr) : "";
  const line = `{"texts":["${"x".repeat(10_000)}"]}\n`;
  // Far more than pipes hold: once it is taken, the import runs.
  for (let i = 0; i < 400; i++) {
    if (child.stdin && !child.stdin.write(line)) await once(child.stdin, "drain");
  }
  child.kill("SIGINT");
  const [code] = await once(child, "close");
  assert.equal(code, 130);
  assert.equal(await stdout, "");
  assert.equal(await stderr, "error: stopped; nothing was submitted\n");
  assert.deepEqual(await json(["jobs", "list", "--library", "piped"]), []);
});

test("mistakes are named in a line or two, by the option's name; exit code 2, or 4 for what isn't there", async () => {
  await client.createLibrary({ name: "recipes" });
  const cases: [code: number, args: string[], expected: RegExp][] = [
    [4, ["search", "recipies", "x"], /^error: library "recipies" does not exist; did you mean recipes\?\n$/],
    [4, ["search", "zzzzzzzzzz", "x"], /does not exist; `arrw library list` shows all\n$/],
    [2, ["search", "recipes", "x", "-k", "0"], /^error: -k: .*got 0\n$/],
    [2, ["search", "recipes"], /^error: what to look for\? a text, or --vector; one of the two\n$/],
    [2, ["search", "recipes", "--vector", "[1, x]"], /^error: --vector: number 2 is none\n$/],
    [
      2,
      ["library", "create", "x", "--dimensions", "0", "--metric", "far"],
      /invalid request\n {2}--dimensions: .*\n {2}--metric: /,
    ],
    [1, ["library", "create", "recipes"], /^error: .*recipes.* exists\n$/],
    [4, ["jobs", "get", "nope"], /^error: job "nope" does not exist\n$/],
    [2, ["jobs", "list", "--status", "runing"], /did you mean running\?/],
    [2, ["jobs", "list", "--since", "yesterday"], /expected a time, as 2026-12-24T18:00:00Z, or 90s/],
    [2, ["jobs", "lst"], /^error: unknown command 'lst'\n\(Did you mean list\?\)\n/],
    [2, ["jobs", "list", "--limt", "3"], /^error: unknown option '--limt'\n\(Did you mean --limit\?\)\n/],
    [2, ["jobs", "cancel"], /^error: which jobs\? name them, or say --status, .* or --all\n$/],
    [2, ["jobs", "delete", "x", "--all"], /^error: name jobs, or say which match; not both\n$/],
    [2, ["jobs", "submit", '{"spec": {"ecko": {}}}'], /^error: request: .*ecko/],
    [2, ["jobs", "submit", '{"library_id": "recipes"}'], /^error: spec: /],
    [2, ["queue", "pause", "ekko"], /^error: \[type\]: one of batch_import, .*; got "ekko"\n$/],
    [2, ["queue", "limit", "echo", "many"], /expected a whole number/],
    [4, ["workers", "drain", "nobody"], /^error: worker "nobody" does not exist\n$/],
    [4, ["document", "get", "recipes", "none"], /^error: document "none" does not exist/],
    [2, ["import", "recipes", "x", "--total-timeout", "1y"], /expected a time, as 250ms, 90s, 5m, 2h or 1d/],
    [2, ["import", "recipes", "/no/such/folder"], /^error: \/no\/such\/folder: no such file or folder\n$/],
  ];
  for (const [expectedCode, args, expected] of cases) {
    const { code, stderr } = await run(args);
    assert.equal(code, expectedCode, `${args.join(" ")}: ${stderr}`);
    assert.match(stderr, expected);
  }
});

test("with --json an error is one object on stderr", async () => {
  const errorOf = async (args: string[]): Promise<[number | null, Record<string, unknown>]> => {
    const { code, stderr } = await run([...args, "--json"]);
    const { error } = JSON.parse(stderr) as { error: Record<string, unknown> };
    return [code, error];
  };
  const [missing, notFound] = await errorOf(["jobs", "get", "nope"]);
  assert.deepEqual([missing, notFound.code, notFound.reason], [4, "NOT_FOUND", "JOB_NOT_FOUND"]);
  const [invalid, { fields }] = await errorOf(["library", "create", "x", "--metric", "far"]);
  assert.equal(invalid, 2);
  assert.deepEqual(
    (fields as { field: string; option: string }[]).map(({ field, option }) => [field, option]),
    [["index_config.metric", "--metric"]],
  );
  const [wrong, usage] = await errorOf(["jobs", "lst"]);
  assert.deepEqual([wrong, usage.message, usage.exit_code], [2, "unknown command 'lst'", 2]);
  const failing = await errorOf([
    "jobs",
    "submit",
    '{"spec": {"echo": {"fail_permanently": true}}}',
    "--watch",
  ]);
  assert.deepEqual([failing[0], failing[1].code, failing[1].reason], [1, "JOB_FAILED", "ECHO_FAILED"]);
});

test("a gateway that isn't there is named, with what to try", async () => {
  const address = `127.0.0.1:${await freePort("127.0.0.1")}`;
  const { code, stderr } = await arrw(address, ["stats"]);
  assert.equal(code, 3);
  assert.equal(stderr, `error: gateway not reachable at ${address}: is it running? try \`arrw up\`\n`);
});

test("libraries are listed and deleted", async () => {
  await client.createLibrary({ name: "short-lived" });
  assert.match(
    (await run(["library", "list"])).stdout,
    /^NAME .*\n(.*\n)*short-lived +0 +0 +hashing +256 +cos /,
  );
  assert.equal((await run(["library", "delete", "short-lived"])).stdout, "short-lived deleted\n");
  await assert.rejects(client.getLibrary("short-lived"), { code: "NOT_FOUND", reason: "LIBRARY_NOT_FOUND" });
});

test("the examples run", async () => {
  for (const [example, expected] of [
    ["import-watch-search.ts", /(^|\n)revision \d+: 2 of 2 documents\n0\.\d+ {2}The Tyger: Tyger Tyger/],
    [
      "many-jobs.ts",
      /^100 of 100 jobs completed\n100 jobs are labelled .*\nthe slow one was cancelled: true\n$/,
    ],
  ] as const) {
    const args = ["--import", "tsx", join(REPOSITORY, "examples", example)];
    const { code, stdout, stderr } = await finished(
      spawnNode(args, userEnv({ ARRW_ADDRESS: system.address })),
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, expected);
  }
});
