import assert from "node:assert/strict";
import { test } from "node:test";
import { integer, label, list, statuses } from "../../../cli/arguments.ts";
import { jobTable } from "../../../cli/commands/jobs.ts";
import { hitLines } from "../../../cli/commands/search.ts";
import { statsLines } from "../../../cli/commands/stats.ts";
import { endText, jobDetails } from "../../../cli/job-text.ts";
import { nearestName } from "../../../cli/nearest-name.ts";
import { paceText, stateText } from "../../../cli/progress-view.ts";
import { Rate } from "../../../cli/rate.ts";
import { downloadCommand, nextCommands } from "../../../cli/watch-job.ts";
import { GetQueueStatsResponse, Job, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { Hit } from "../../../proto/gen/arrwdb/v1/libraries.ts";

const at = (seconds: number): Date => new Date(1_700_000_000_000 + seconds * 1_000);

const completed = Job.fromPartial({
  jobId: "job-1",
  type: "batch_import",
  libraryId: "lib-1",
  status: JobStatus.JOB_STATUS_COMPLETED,
  createdAt: at(0),
  startedAt: at(1),
  completedAt: at(13.4),
  itemCount: 396n,
  losses: 1,
  result: { result: { $case: "batchImport", value: { imported: 395n, failed: 1n, totalChunks: 4012n } } },
});

const failed = Job.fromPartial({
  jobId: "job-2",
  type: "echo",
  status: JobStatus.JOB_STATUS_FAILED,
  attempt: 4,
  retries: 3,
  error: { code: "ECHO_FAILED", message: "the spec\u001b[2J says so", retryable: true },
});

const running = (current: number, total = 100): Job =>
  Job.fromPartial({
    status: JobStatus.JOB_STATUS_RUNNING,
    progress: { current, total, percentage: (current / total) * 100 },
  });

test("how a job ended, in one line", () => {
  assert.equal(
    endText(completed),
    "completed  395 documents, 4,012 chunks, 1 document refused, in 13.4 s, resumed after 1 lost worker",
  );
  assert.equal(endText(failed), "failed  ECHO_FAILED: the spec [2J says so (4 attempts)");
});

test("jobs as a table, with the library's name", () => {
  const [head, first, second] = jobTable([completed, failed], new Map([["lib-1", "docs"]]), at(20).getTime());
  assert.match(head ?? "", /^JOB +STATUS +TYPE +LIBRARY +DONE +DOCUMENTS +RAN FOR +SUBMITTED$/);
  assert.match(first ?? "", /^job-1 +completed +batch_import +docs +100 % +396 +12\.4 s +20 s ago$/);
  assert.match(second ?? "", /^job-2 +failed +echo +- +- +- +-$/);
});

test("a job in detail shows what is known and nothing else", () => {
  const lines = jobDetails(completed, "docs", at(20).getTime());
  assert.ok(lines.includes("  library       docs (lib-1)"));
  assert.ok(lines.includes("  lost workers  1"));
  assert.ok(!lines.some((line) => line.includes("undefined") || line.includes("error")));
});

test("rate and remaining time come from the last five seconds", () => {
  const rate = new Rate();
  assert.equal(paceText(running(0), rate, 0), "");
  rate.add(0, 0);
  rate.add(1_000, 20);
  assert.equal(paceText(running(20), rate, 1_000), "20/s  ETA 4 s");
  const verifying = Job.fromPartial({
    status: 4,
    progress: { current: 9n, total: 9n, message: "measuring" },
  });
  assert.equal(paceText(verifying, rate, 1_000), "measuring");
  assert.equal(rate.perSecond(2_000), 10);
  for (let second = 2; second <= 20; second++) rate.add(second * 1_000, 20 + second);
  assert.equal(Math.round(rate.perSecond(20_000) ?? 0), 1);
  // Back to a checkpoint: what was done before doesn't count.
  rate.add(21_000, 5);
  assert.equal(rate.perSecond(21_000), undefined);
});

test("the state says why nothing moves", () => {
  assert.equal(stateText(running(1)), "running");
  assert.equal(stateText(Job.fromPartial({ status: 4, cancelRequested: true })), "cancelling");
  assert.equal(stateText(Job.fromPartial({ status: 2, attempt: 1 })), "waits for its retry");
  assert.equal(stateText(Job.fromPartial({ status: 2 })), "scheduled");
});

test("a hit: rank, score, title, and the beginning of its text", () => {
  const hit = Hit.fromPartial({ documentId: "d", score: 0.73149, text: `${"word ".repeat(40)}\u001b[31m` });
  const [head = "", ...text] = hitLines(hit, 1, 40);
  assert.equal(head, " 1  0.731  d");
  assert.equal(text.length, 2);
  assert.ok(text.every((line) => line.length <= 40));
});

test("statistics leave out what is zero", () => {
  const stats = GetQueueStatsResponse.fromPartial({
    totalJobs: 3n,
    runningJobs: 1n,
    completedJobs: 2n,
    numWorkers: 1,
    slots: 4,
    slotsUsed: 1,
    running: true,
    byType: [{ type: "echo", pendingJobs: 0n, runningJobs: 1n }, { type: "batch_import" }],
  });
  assert.deepEqual(statsLines(stats), [
    "  jobs       3 (1 running, 2 completed)",
    "  workers    1",
    "  slots      1 of 4 in use",
    "  scheduler  dispatches",
    "",
    "  TYPE  PENDING  RUNNING  OLDEST WAITS",
    "  echo        0        1             -",
  ]);
});

test("options are read or refused with a hint", () => {
  assert.equal(integer("42"), 42);
  assert.throws(() => integer("4x"), /whole number/);
  assert.deepEqual(statuses("running,PENDING"), [JobStatus.JOB_STATUS_RUNNING, JobStatus.JOB_STATUS_PENDING]);
  assert.throws(() => statuses("runing"), /did you mean running\?/);
  assert.deepEqual(label("b=2=3", label("a=1")), { a: "1", b: "2=3" });
  assert.throws(() => label("=1"), /KEY=VALUE/);
  assert.deepEqual(list("echo, batch_import"), ["echo", "batch_import"]);
});

test("the nearest name is one that a slip of the finger explains", () => {
  assert.equal(nearestName("dosc", ["docs", "poems"]), "docs");
  assert.equal(nearestName("DOCS", ["docs"]), "docs");
  assert.equal(nearestName("novels", ["docs", "poems"]), undefined);
  assert.equal(nearestName("docs", []), undefined);
});

test("what to type next names the address unless it is the default", () => {
  assert.deepEqual(nextCommands("j", "127.0.0.1:50051"), [
    "  watch it   npx arrw jobs watch j",
    "  cancel it  npx arrw jobs cancel j",
  ]);
  assert.equal(nextCommands("j", "10.0.0.1:1")[0], "  watch it   npx arrw jobs watch j --address 10.0.0.1:1");
  assert.equal(downloadCommand("j", "f", "127.0.0.1:50051"), "npx arrw jobs download j -o f");
  assert.equal(downloadCommand("j", "f", "10.0.0.1:1"), "npx arrw jobs download j -o f --address 10.0.0.1:1");
});
