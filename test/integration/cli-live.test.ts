import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type System, startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { arrw, type CliResult, finished, startArrw, userEnv } from "../support/arrw.ts";
import { tempDir } from "../support/temp.ts";

/** What the command imports, submits and shows, against one system. */

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

async function printed(args: readonly string[], input = ""): Promise<string> {
  const { code, stdout, stderr } = await run(args, input);
  assert.equal(code, 0, stderr);
  return stdout;
}

const echo = (value: object): string => JSON.stringify({ spec: { echo: value } });

test("import of a folder, a table, packed JSON and stdin; what would be sent is shown first", async (t) => {
  const folder = await tempDir(t);
  await mkdir(join(folder, "pages"));
  await writeFile(
    join(folder, "pages", "sea.html"),
    "<title>The sea</title><body><h1>Waves</h1><script>x</script></body>",
  );
  await writeFile(join(folder, "pages", "latin.txt"), Buffer.from("gr\u00fc\u00df", "latin1"));
  await writeFile(join(folder, "t.csv"), 'document_id,text,year\nc1,"a, b",1794\n');
  await writeFile(join(folder, "d.json.gz"), gzipSync('[{"document_id":"j1","texts":["packed"]}]'));
  await client.createLibrary({ name: "formats" });
  const sources = [join(folder, "pages"), join(folder, "t.csv"), join(folder, "d.json.gz"), "-"];
  const args = ["import", "formats", ...sources];
  const dry = await run([...args, "--dry-run"], '{"document_id":"s1","texts":["piped"]}\n');
  assert.equal(dry.code, 0, dry.stderr);
  assert.equal(
    dry.stdout,
    "The sea  1 text  5 B\nc1  1 text  4 B\nj1  1 text  6 B\ns1  1 text  5 B\n4 documents, 20 B of text; nothing was sent\n",
  );
  assert.equal(dry.stderr, "skipped latin.txt: not UTF-8; --encoding says what it is\n");
  assert.match(
    await printed([...args, "--watch"], '{"document_id":"s1","texts":["piped"]}\n'),
    /completed {2}4 documents/,
  );
  const { texts, metadata } = await client.getDocument("formats", "c1");
  assert.deepEqual([texts, metadata], [["a, b"], { year: 1794 }]);

  assert.match(
    await printed(["document", "list", "formats", "--filter", "metadata.year>=1700"]),
    /^DOCUMENT +TITLE .*\nc1\n$/,
  );
  assert.match(await printed(["document", "get", "formats", "j1"]), /^j1\n {2}chunks +1\n\npacked\n$/);
  assert.match(await printed(["search", "formats", "piped", "--filter", "document_id=s1"]), / s1\n +piped/);
  assert.equal(await printed(["document", "delete", "formats", "s1"]), "s1 deleted\n");
  assert.equal((await run(["document", "get", "formats", "s1"])).code, 4);
});

test("a search for a vector", async () => {
  await client.createLibrary({ name: "own", embedding: { provider: "none", dimensions: 2 } });
  const line = '{"document_id":"v","texts":["here"],"vectors":[[1,0]]}\n';
  await printed(["import", "own", "-", "-w"], line);
  assert.match(await printed(["search", "own", "--vector", "[1, 0]"]), /^ 1 {2}1\.000 {2}v\n/);
  assert.match(await printed(["search", "own", "--vector", "-", "--json"], "1 0"), /"document_id":"v"/);
});

test("jobs are submitted as JSON: one, or a line each; those that are refused are named", async () => {
  const one = (await printed(["jobs", "submit", echo({ message: "hi" })])).split("\n")[0] ?? "";
  assert.equal((await client.wait(one)).result?.result?.$case, "echo");
  const lines = [echo({ message: "a" }), "", echo({ sleep: "-1s" }), echo({ message: "b" })].join("\n");
  const several = await run(["jobs", "submit", "-"], lines);
  assert.equal(several.code, 2);
  assert.equal(several.stdout.trim().split("\n").length, 2);
  assert.match(several.stderr, /^stdin, line 3: .*\n {2}spec\.echo\.sleep: /);
  const broken = await run(["jobs", "submit", "-"], '{"spec":{"ecko":{}}}');
  assert.match(broken.stderr, /^error: stdin, line 1: .*ecko/);
});

test("several jobs are watched to their ends: a line of each, exit code 1 when one failed", async () => {
  const spec = (value: object) => client.submit({ maxRetries: 0, spec: { spec: { $case: "echo", value } } });
  const [good, bad] = await Promise.all([spec({ message: "fine" }), spec({ failPermanently: true })]);
  const both = await run(["jobs", "watch", good.jobId, bad.jobId]);
  assert.equal(both.code, 1);
  assert.match(both.stdout, new RegExp(`^${good.jobId} {2}echo {2}completed {2}"fine", in `, "m"));
  assert.match(both.stdout, new RegExp(`^${bad.jobId} {2}echo {2}failed {2}ECHO_FAILED: `, "m"));
  assert.equal((await run(["jobs", "watch", good.jobId, good.jobId])).code, 0);
  const missing = await run(["jobs", "watch", good.jobId, "nope", "--json"]);
  assert.equal(missing.code, 4);
  assert.equal((JSON.parse(missing.stdout.trim()) as { job_id: string }).job_id, good.jobId);
  assert.equal((JSON.parse(missing.stderr) as { error: { reason: string } }).error.reason, "JOB_NOT_FOUND");
});

test("top: a frame for people, or for programs", async () => {
  const frame = await printed(["top", "--once"]);
  assert.match(frame, /^arrwDB 127\.0\.0\.1:\d+ .*\nstate {3}dispatches\njobs {4}0 running, 0 pending/);
  assert.match(frame, /\nWORKER .*\n\S+ +\S+ +0 of 4 /);
  assert.match(frame, /\nJOB .*\n\S{36} {2}/);
  const { stats, workers, rates } = JSON.parse(await printed(["top", "--once", "--json"]));
  assert.deepEqual([stats.running, workers.length, rates.failed], [true, 1, 0]);
});

test("completion asks the gateway for libraries and jobs; it is silent when there is none", async () => {
  assert.match(await printed(["__complete", "--", "search", "form"]), /^formats\t/);
  const [job = ""] = (await printed(["__complete", "--", "jobs", "get", ""])).split("\t");
  assert.match(job, /^[0-9a-f-]{36}$/);
  const nowhere = await finished(startArrw("127.0.0.1:1", ["__complete", "--", "search", ""]));
  assert.deepEqual(nowhere, { code: 0, stdout: "", stderr: "" });
  for (const shell of ["bash", "zsh", "fish"])
    assert.match(await printed(["completion", shell]), /__complete/);
});
