import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { succeed } from "./command.ts";
import { goToolsFolder, grpcAddress } from "./target.ts";

interface Report {
  readonly count: number;
  readonly rps: number;
  readonly errorDistribution: Readonly<Record<string, number>>;
  readonly statusCodeDistribution: Readonly<Record<string, number>>;
}

const CONCURRENCY = 20;

async function load(method: string, data: unknown, ...flags: readonly string[]): Promise<Report> {
  const sized = ["--concurrency", String(CONCURRENCY), "--connections", "4", ...flags];
  const args = ["--insecure", "--call", method, "--data", JSON.stringify(data), ...sized, "--format", "json"];
  return JSON.parse(await succeed(join(goToolsFolder(), "ghz"), [...args, grpcAddress()]));
}

/** Every call that was made ended with OK. */
function assertAllSucceeded(report: Report, count: number): void {
  assert.deepEqual(report.errorDistribution ?? {}, {});
  assert.deepEqual(report.statusCodeDistribution, { OK: count });
  assert.equal(report.count, count);
}

test("ghz submits 2,000 jobs, some of its calls gzipped, without an error", async (t) => {
  const job = { request_id: "ghz-{{.UUID}}", spec: { echo: { message: "{{.RequestNumber}}" } } };
  const plain = await load("arrwdb.v1.JobService.SubmitJob", job, "--total", "1500");
  assertAllSucceeded(plain, 1_500);
  const gzipped = await load("arrwdb.v1.JobService.SubmitJob", job, "--total", "500", "--enable-compression");
  assertAllSucceeded(gzipped, 500);
  t.diagnostic(`${plain.rps.toFixed(0)} submits a second, gzipped ${gzipped.rps.toFixed(0)}`);
});

test("ghz reads and streams without an error", async (t) => {
  const listed = await load("arrwdb.v1.JobService.ListJobs", { page_size: 10 }, "--total", "500");
  assertAllSucceeded(listed, 500);
  const stats = await load("arrwdb.v1.JobService.GetQueueStats", {}, "--total", "500");
  assertAllSucceeded(stats, 500);
  t.diagnostic(`${listed.rps.toFixed(0)} lists a second, ${stats.rps.toFixed(0)} statistics a second`);
});
