import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { ErrorCode } from "../../../platform/errors.ts";
import { Stream } from "../../../platform/nats/names.ts";
import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { eventually } from "../../support/eventually.ts";
import { completed } from "../../support/protocol-worker.ts";
import { COMPLETED, echo, setUp } from "./set-up.ts";

/** An echo job whose record has about 16 KB. */
function largeEcho(): Submission {
  const submission = echo();
  const spec = submission.request?.spec?.spec;
  if (spec?.$case === "echo") spec.value.message = "x".repeat(16_000);
  return submission;
}

test("the journal's bytes stay bounded: first by compaction, then by eviction; what is kept is readable", async (test) => {
  const maxBytes = 16 * 1024 * 1024;
  const {
    scheduler,
    nats,
    worker: startWorker,
  } = await setUp(test, {
    ARRW_JOURNAL_MAX_BYTES: String(maxBytes),
  });
  await startWorker({ slots: 100, answer: completed });
  const ids: string[] = [];
  const run = async (count: number): Promise<void> => {
    const wanted = ids.length + count;
    while (ids.length < wanted) {
      const submissions = Array.from({ length: 25 }, largeEcho);
      for (const { outcome } of await scheduler.submitAll(submissions)) {
        if (outcome?.$case === "job") ids.push(outcome.value.jobId);
        else if (outcome?.value.code !== ErrorCode.RESOURCE_EXHAUSTED) assert.fail(outcome?.value.message);
      }
      await scheduler.reaches(ids.at(-1) ?? "", COMPLETED);
    }
  };
  const bytes = async (): Promise<number> => (await nats.streamInfo(Stream.journal)).bytes;
  // Three records a job: 24 MB, of which 8 MB are wanted.
  await run(500);
  await eventually(async () => (await bytes()) < 0.8 * maxBytes, { what: "the journal is compacted" });
  assert.equal((await scheduler.stats()).totalJobs, 500n, "nothing had to leave");
  await rm(scheduler.storeFolder, { recursive: true });
  await scheduler.restart();
  assert.equal((await scheduler.stats()).totalJobs, 500n);
  assert.equal((await scheduler.get(ids[0] ?? "")).status, COMPLETED);
  // More than the bound holds.
  await run(700);
  await eventually(async () => (await bytes()) < 0.8 * maxBytes, { what: "old jobs are evicted" });
  const kept = Number((await scheduler.stats()).totalJobs);
  assert.ok(kept > 400 && kept < 1_000, `${kept} jobs are kept`);
  await assert.rejects(scheduler.get(ids[0] ?? ""), { code: "NOT_FOUND" });
  assert.equal((await scheduler.get(ids.at(-1) ?? "")).status, COMPLETED);
  await scheduler.restart();
  assert.equal(Number((await scheduler.stats()).totalJobs), kept);
  assert.equal((await scheduler.list({}, 10)).jobs[0]?.jobId, [...ids].sort().at(-1));
  assert.equal(scheduler.logged("stopped leading").length, 0);
  assert.equal(
    scheduler.logged("the local store does not fit the journal: it is rebuilt from the journal").length,
    0,
    "a purge never outruns the store",
  );
});

test("ended jobs leave by count, as fast as they come, and by age; others stay", async (test) => {
  const {
    scheduler,
    nats,
    worker: startWorker,
  } = await setUp(test, {
    ARRW_RETENTION_MAX_JOBS: "50",
    ARRW_RETENTION_MAX_AGE_MS: "7000",
  });
  await startWorker({ slots: 500, answer: completed });
  const waiting = await scheduler.submit(echo({ type: "batch_import", requestId: "waits" }));
  const known = await scheduler.submit(echo({ requestId: "ends" }));
  for (let n = 0; n < 5; n++) await scheduler.submitAll(Array.from({ length: 600 }, () => echo()));
  await eventually(async () => (await scheduler.stats()).totalJobs === 51n, {
    timeoutMs: 6_000,
    what: "50 ended jobs and one that waits are left",
  });
  assert.equal((await scheduler.list({}, 100)).jobs.length, 51);
  // A request_id is known as long as its job.
  await assert.rejects(scheduler.get(known.jobId), { code: "NOT_FOUND" });
  assert.notEqual((await scheduler.submit(echo({ requestId: "ends" }))).jobId, known.jobId);
  assert.equal((await scheduler.submit(echo({ requestId: "waits" }))).jobId, waiting.jobId);
  await eventually(async () => (await scheduler.stats()).totalJobs === 1n, { what: "old ones leave" });
  assert.equal((await scheduler.get(waiting.jobId)).jobId, waiting.jobId);
  // What workers reported goes with it.
  await eventually(async () => (await nats.streamInfo(Stream.outcomes)).messages <= 1);
  await scheduler.restart();
  assert.equal((await scheduler.stats()).totalJobs, 1n);
});
