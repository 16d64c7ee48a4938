import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "../../torture/checker.ts";
import type { Entry, JobView, WatchEntry } from "../../torture/history.ts";
import {
  COMPLETED,
  call,
  final,
  GOOD_RECORDS,
  history,
  job,
  record,
  reported,
  STARTED,
  SUBMITTED,
} from "./histories.ts";

/** What clients were told and shown. */

function ofJob(jobId: string, fields: Partial<JobView> = {}): ReturnType<typeof record>[] {
  const all = { ...fields, jobId };
  return [record("job.submitted", job("PENDING", 1, all)), record("job.cancelled", job("CANCELLED", 2, all))];
}

function watch(jobs: readonly (JobView | undefined)[], fields: Partial<WatchEntry> = {}): WatchEntry {
  const seen = jobs.flatMap((each) => each ?? []);
  return {
    kind: "watch",
    jobId: "job-1",
    afterRevision: 0,
    startMs: 1,
    endMs: 2,
    jobs: seen,
    end: "OK",
    ...fields,
  };
}

function events(revisions: readonly number[]): Entry {
  const names = ["", "job.submitted", "job.started", "job.completed"];
  const shown = revisions.map((revision) => ({
    cursor: `c${revision}`,
    event: names[revision] ?? "",
    atMs: 1_000,
    jobId: "job-1",
    revision,
    fingerprint: GOOD_RECORDS[revision - 1]?.job?.fingerprint,
  }));
  return { kind: "events", afterCursor: "", events: shown, end: "STOPPED" };
}

const other = job("PENDING", 1, { jobId: "job-9" });
const changed = job("COMPLETED", 3, { retries: 2 });

const CASES: readonly { name: string; entries: readonly Entry[]; expected: readonly string[] }[] = [
  {
    name: "an acknowledged job is not in the journal",
    entries: history(GOOD_RECORDS, call({ reply: other })),
    expected: ["lost"],
  },
  {
    name: "a reply shows a revision that the journal lacks",
    entries: history(GOOD_RECORDS, call({ reply: job("COMPLETED", 4) })),
    expected: ["reply"],
  },
  {
    name: "a reply shows another state than the journal",
    entries: history(GOOD_RECORDS, call({ reply: changed })),
    expected: ["reply"],
  },
  {
    name: "a job that was there is not found",
    entries: history(GOOD_RECORDS, call({ call: "get", body: "", jobId: "job-1", code: "NOT_FOUND" })),
    expected: ["lost"],
  },
  {
    name: "a call fails with INTERNAL",
    entries: history(GOOD_RECORDS, call({ call: "get", body: "", jobId: "job-1", code: "INTERNAL" })),
    expected: ["reply"],
  },
  {
    name: "a cancel is acknowledged with a job that goes on",
    entries: history(GOOD_RECORDS, call({ call: "cancel", body: "", jobId: "job-1", reply: STARTED.job })),
    expected: ["cancel"],
  },
  {
    name: "a request_id makes two jobs",
    entries: history(
      [...ofJob("job-1", { requestId: "r" }), ...ofJob("job-2", { requestId: "r", body: "b" })],
      call({ requestId: "r" }),
    ),
    expected: ["request-id"],
  },
  {
    name: "a request_id is accepted with two bodies",
    entries: history(
      ofJob("job-1", { requestId: "r" }),
      call({ requestId: "r", body: "body-1", reply: job("PENDING", 1, { requestId: "r" }) }),
      call({ requestId: "r", body: "body-2", reply: job("PENDING", 1, { requestId: "r" }) }),
    ),
    expected: ["request-id"],
  },
  {
    name: "a request_id is refused as reused that nobody reused",
    entries: history(
      ofJob("job-1", { requestId: "r" }),
      call({ requestId: "r", reply: job("PENDING", 1, { requestId: "r" }) }),
      call({ requestId: "r", code: "ALREADY_EXISTS" }),
    ),
    expected: ["request-id"],
  },
  {
    name: "one submit makes two jobs",
    entries: history([...ofJob("job-1"), ...ofJob("job-2")], call({ code: "UNAVAILABLE" })),
    expected: ["duplicate"],
  },
  {
    name: "a refused submit makes a job",
    entries: history(ofJob("job-1"), call({ code: "INVALID_ARGUMENT" })),
    expected: ["duplicate"],
  },
  {
    name: "a later read is older",
    entries: history(
      GOOD_RECORDS,
      call({ reply: COMPLETED.job, endMs: 5_010 }),
      call({ call: "get", jobId: "job-1", body: "", startMs: 6_000, endMs: 6_010, reply: STARTED.job }),
    ),
    expected: ["stale-read"],
  },
  {
    name: "the dust does not settle",
    entries: [...history(GOOD_RECORDS).slice(0, -1), final([], { unsettled: "job-1 is RUNNING" })],
    expected: ["settled"],
  },
  { name: "the run has no end", entries: history(GOOD_RECORDS).slice(0, -1), expected: ["settled"] },
  {
    name: "the list shows another state than the journal",
    entries: [...history(GOOD_RECORDS).slice(0, -1), final([changed])],
    expected: ["settled"],
  },
  {
    name: "the list's total is wrong",
    entries: [...history(GOOD_RECORDS).slice(0, -1), final([COMPLETED.job ?? changed], { totalSize: 2 })],
    expected: ["settled"],
  },
  {
    name: "a watch leaves a revision out",
    entries: history(GOOD_RECORDS, watch([SUBMITTED.job, COMPLETED.job])),
    expected: ["watch"],
  },
  {
    name: "a watch goes back",
    entries: history(GOOD_RECORDS, watch([STARTED.job, SUBMITTED.job], { end: "UNAVAILABLE" })),
    expected: ["watch"],
  },
  {
    name: "a resumed watch repeats what the client has",
    entries: history(GOOD_RECORDS, watch([STARTED.job, COMPLETED.job], { afterRevision: 2 })),
    expected: ["watch"],
  },
  {
    name: "a watch closes before the job has ended",
    entries: history(GOOD_RECORDS, watch([SUBMITTED.job, STARTED.job])),
    expected: ["watch"],
  },
  {
    name: "a watch shows another state than the journal",
    entries: history(GOOD_RECORDS, watch([SUBMITTED.job, STARTED.job, changed])),
    expected: ["reply"],
  },
  {
    name: "WatchJobs leaves an event out",
    entries: history(GOOD_RECORDS, events([1, 3])),
    expected: ["events"],
  },
  {
    name: "WatchJobs repeats an event",
    entries: history(GOOD_RECORDS, events([1, 2, 2, 3])),
    expected: ["events"],
  },
  {
    name: "WatchJobs leaves out the end",
    entries: history(GOOD_RECORDS, events([1, 2])),
    expected: ["events"],
  },
  {
    name: "WatchJobs begins with what never was",
    entries: history(GOOD_RECORDS, events([7])),
    expected: ["events"],
  },
];

for (const { name, entries, expected } of CASES) {
  test(`caught: ${name}`, () => assert.deepEqual(reported(entries), expected));
}

test("good watches pass, whole, resumed, and with progress between transitions", () => {
  const entries = history(
    GOOD_RECORDS,
    watch([SUBMITTED.job, STARTED.job, STARTED.job, COMPLETED.job]),
    watch([COMPLETED.job], { afterRevision: 1 }),
    events([1, 2]),
    events([3]),
  );
  assert.deepEqual(check(entries), []);
});
