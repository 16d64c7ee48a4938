import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { tempDir } from "../support/temp.ts";
import { type RunOptions, run, succeed } from "./command.ts";
import { httpAddress, secured } from "./target.ts";

const JSON_BODY = ["-H", "content-type: application/json", "--data"];
const NDJSON_BODY = ["-H", "content-type: application/x-ndjson", "--data-binary"];

/** curl as people call it; an answer of 400 and above fails. */
function curl(path: string, flags: readonly string[] = [], options: RunOptions = {}): Promise<string> {
  return succeed(
    "curl",
    ["-sS", "--fail-with-body", "-m", "30", ...flags, `${httpAddress()}${path}`],
    options,
  );
}

async function json(path: string, flags: readonly string[] = []) {
  return JSON.parse(await curl(path, flags));
}

async function post(path: string, body: unknown) {
  return json(path, [...JSON_BODY, JSON.stringify(body)]);
}

/** The status and the JSON of an answer, whatever it is. */
async function answer(path: string, flags: readonly string[]) {
  const address = `${httpAddress()}${path}`;
  const { stdout } = await run("curl", ["-sS", "-m", "30", "-w", "\n%{http_code}", ...flags, address]);
  const at = stdout.lastIndexOf("\n");
  return { status: Number(stdout.slice(at + 1)), body: JSON.parse(stdout.slice(0, at)) };
}

/** The events of an SSE stream that has ended. */
function events(stream: string): { id: string; event: string; data: Record<string, unknown> }[] {
  return stream
    .split("\n\n")
    .map((block) => Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2))))
    .filter(({ event }) => event !== undefined)
    .map(({ id, event, data }) => ({ id, event, data: JSON.parse(data) }));
}

test("an import is submitted, watched as server-sent events, and searched", async () => {
  await post("/v1/libraries", { library_id: "curl" });
  const documents = [
    { title: "Tea", texts: ["Green tea is steeped at 80 degrees."] },
    { title: "Coffee", texts: ["Espresso is brewed under pressure."] },
  ];
  const submitted = await post("/v1/jobs/batch-import", { library_id: "curl", documents });
  assert.match(submitted.message, /2 documents/);
  const seen = events(await curl(`/v1/jobs/${submitted.job_id}/events`, ["-N"]));
  assert.equal(seen.at(-1)?.event, "end");
  assert.equal(seen.at(-2)?.data.status, "completed");
  assert.deepEqual(seen.at(-2)?.data.result, { imported: 2, failed: 0, total_chunks: 2 });
  // An EventSource that comes back after the end is told to stay away.
  const again = ["-o", "/dev/null", "-w", "%{http_code}", "-H", `Last-Event-ID: ${seen.at(-2)?.id}`];
  assert.equal(await curl(`/v1/jobs/${submitted.job_id}/events`, again), "204");
  const query = { text: "how hot for tea", k: 1, include_text: true };
  const { hits } = await post("/v1/libraries/curl/search", query);
  assert.equal(hits[0].title, "Tea");
  const job = await json(`/v1/jobs/${submitted.job_id}`);
  assert.deepEqual([job.job_type, job.status, job.error], ["batch_import", "completed", null]);
});

test("documents are streamed as NDJSON, gzipped too; an export is downloaded in two parts", async (t) => {
  const folder = await tempDir(t);
  await post("/v1/libraries", { library_id: "curl-stream" });
  const lines = Array.from({ length: 2_000 }, (_, i) =>
    JSON.stringify({ document_id: `d${String(i).padStart(4, "0")}`, texts: [`document ${i}`] }),
  );
  const file = join(folder, "documents.ndjson");
  await writeFile(file, `${lines.join("\n")}\n`);
  await writeFile(`${file}.gz`, gzipSync(`${lines.slice(0, 10).join("\n")}\n`));
  const path = "/v1/libraries/curl-stream/documents/stream";
  for (const [name, flags, count] of [
    [file, [], 2_000],
    [`${file}.gz`, ["-H", "content-encoding: gzip"], 10],
  ] as const) {
    const { job_id } = await json(path, [...NDJSON_BODY, `@${name}`, ...flags]);
    const ended = events(await curl(`/v1/jobs/${job_id}/events`, ["-N"])).at(-2)?.data;
    assert.deepEqual(ended?.result, { imported: count, failed: 0, total_chunks: count });
  }

  const exported = await post("/v1/jobs/batch-export", { library_id: "curl-stream", format: "ndjson" });
  const ended = events(await curl(`/v1/jobs/${exported.job_id}/events`, ["-N"])).at(-2)?.data;
  const { sha256 } = Object(ended?.result);
  const target = join(folder, "export.ndjson");
  await curl(`/v1/jobs/${exported.job_id}/export`, ["-o", target]);
  const whole = await readFile(target);
  assert.equal(createHash("sha256").update(whole).digest("hex"), sha256);
  // As if the connection had broken: curl goes on where the file ends.
  await truncate(target, 10_000);
  await curl(`/v1/jobs/${exported.job_id}/export`, ["-C", "-", "-o", target]);
  assert.deepEqual(await readFile(target), whole);
  assert.equal(whole.toString().trim().split("\n").length, 2_000);
});

test("what is wrong is JSON with the fields, under its status", async () => {
  const search = await answer("/v1/libraries/curl/search", [...JSON_BODY, '{"k": -1, "text": ""}']);
  assert.equal(search.status, 400);
  assert.equal(search.body.error.code, "INVALID_ARGUMENT");
  assert.ok(search.body.error.fields.some(({ field }: { field: string }) => field === "k"));
  assert.equal((await answer("/v1/jobs/nothing", [])).status, 404);
  assert.equal((await answer("/v1/jobs/nothing", ["-X", "DELETE"])).status, 404);
  assert.equal((await answer("/v1/jobs", ["-X", "PUT"])).status, 405);
  assert.equal((await answer("/nothing", [])).status, 404);
  assert.equal((await answer("/v1/jobs/echo", ["--data", "message=x"])).status, 415);
  assert.equal((await answer("/v1/jobs/echo", [...JSON_BODY, "{"])).status, 400);
  const { job_id } = await post("/v1/jobs/echo", { message: "hello" });
  await curl(`/v1/jobs/${job_id}/events`, ["-N"]);
  const cancel = await answer(`/v1/jobs/${job_id}`, ["-X", "DELETE"]);
  assert.deepEqual([cancel.status, cancel.body.error.reason], [409, "JOB_TERMINAL"]);
});

test("counts, lists and probes", async () => {
  const stats = await json("/v1/jobs/stats/queue");
  assert.deepEqual(Object.keys(stats), [
    "total_jobs",
    "completed_jobs",
    "failed_jobs",
    "pending_jobs",
    "running_jobs",
    "queue_size",
    "num_workers",
    "running",
  ]);
  const { jobs, total } = await json("/v1/jobs?status=completed&type=batch_import&limit=1");
  assert.equal(jobs.length, 1);
  assert.ok(total >= 1);
  assert.match(await curl("/readyz"), /ready/);
  assert.match(await curl("/metrics"), /^# HELP /m);
});

test("over TLS and with a key", async () => {
  const { http, caFile, key } = secured();
  const address = `https://${http}/v1/jobs/stats/queue`;
  const authorized = ["--cacert", caFile, "-H", `authorization: Bearer ${key}`];
  assert.equal(JSON.parse(await succeed("curl", ["-sS", ...authorized, address])).running, true);
  const keyless = await succeed("curl", ["-sS", "-w", "\n%{http_code}", "--cacert", caFile, address]);
  assert.match(keyless, /CREDENTIALS_MISSING.*\n401$/);
  assert.equal((await run("curl", ["-sS", address])).code, 60, "its authority is not known");
});
