import assert from "node:assert/strict";
import { test } from "node:test";
import {
  JournalBatch as Batch,
  JobState,
  JournalRecord,
} from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job, JobFilter, JobStatus, WatchJobsResponse } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { jobMatcher } from "../../../services/gateway/domain/job-filter.ts";
import { parseCursor } from "../../../services/gateway/domain/watch-cursor.ts";
import { JournalBatch } from "../../../services/gateway/journal-batch.ts";

const ANYBODY = { name: "test", role: "viewer", libraries: undefined } as const;

const at = new Date("2026-01-02T03:04:05.678Z");
const job = Job.fromPartial({
  jobId: "j",
  type: "batch_import",
  status: JobStatus.JOB_STATUS_RUNNING,
  libraryId: "lib",
  labels: { team: "a", tier: "1" },
  createdAt: at,
  revision: 7n,
  workerId: "w",
});

function batchOf(records: readonly Partial<JournalRecord>[], sequence = 9): JournalBatch {
  const encoded = records.map((record) =>
    Buffer.from(JournalRecord.encode({ ...JournalRecord.fromPartial({}), ...record }).finish()),
  );
  return new JournalBatch(
    sequence,
    Batch.encode(Batch.fromPartial({ version: 1, records: encoded })).finish(),
  );
}

const state = JobState.fromPartial({ job, lease: 3n, checkpoint: Buffer.from("private") });

test("an event has the whole job, its time and a cursor behind it; what is private of the record stays", () => {
  const batch = batchOf([
    { jobId: "other", revision: 1n, event: "", at, state },
    { jobId: "j", revision: 7n, event: "job.started", at, state },
  ]);
  assert.equal(batch.events.length, 1);
  const [event] = batch.events;
  assert.ok(event);
  const response = WatchJobsResponse.decode(event.payload);
  assert.deepEqual(parseCursor(response.cursor), { sequence: 9, index: 1 });
  assert.deepEqual([response.event, response.at, response.job], ["job.started", at, job]);
  assert.ok(!event.payload.includes("private"));
  assert.equal(event.payload, event.payload);
});

test("a tombstone: the job that is gone, or what is known of it", () => {
  const batch = batchOf([
    { jobId: "j", revision: 8n, event: "job.deleted", at, deletedJob: { ...job, revision: 8n } },
    { jobId: "k", revision: 5n, event: "job.deleted", at },
  ]);
  const jobs = batch.events.map(({ payload }) => WatchJobsResponse.decode(payload).job);
  assert.deepEqual(jobs, [{ ...job, revision: 8n }, Job.fromPartial({ jobId: "k", revision: 5n })]);
  const library = jobMatcher(JobFilter.fromPartial({ libraryId: "lib" }), ANYBODY);
  assert.deepEqual(
    batch.events.map((event) => event.matches(library)),
    [true, false],
  );
});

test("filters as in ListJobs: all that is set must hold", () => {
  const [event] = batchOf([{ jobId: "j", revision: 7n, event: "job.started", at, state }]).events;
  const before = new Date(at.getTime() - 1);
  const cases: [Partial<JobFilter>, boolean][] = [
    [{}, true],
    [{ statuses: [JobStatus.JOB_STATUS_FAILED, JobStatus.JOB_STATUS_RUNNING] }, true],
    [{ statuses: [JobStatus.JOB_STATUS_PENDING] }, false],
    [{ types: ["echo", "batch_import"] }, true],
    [{ types: ["echo"] }, false],
    [{ libraryId: "lib" }, true],
    [{ libraryId: "li" }, false],
    [{ labels: { team: "a" } }, true],
    [{ labels: { team: "a", tier: "2" } }, false],
    [{ labels: { missing: "" } }, false],
    [{ createdAfter: at, createdBefore: new Date(at.getTime() + 1) }, true],
    [{ createdBefore: at }, false],
    [{ createdAfter: before, createdBefore: before }, false],
    [{ types: ["batch_import"], labels: { team: "b" } }, false],
  ];
  for (const [filter, expected] of cases) {
    assert.equal(
      event?.matches(jobMatcher({ ...JobFilter.fromPartial({}), ...filter }, ANYBODY)),
      expected,
      JSON.stringify(filter),
    );
  }
  assert.equal(event?.matches(jobMatcher(undefined, ANYBODY)), true);
});
