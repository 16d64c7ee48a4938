import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "../../torture/checker.ts";
import type { Entry } from "../../torture/history.ts";
import {
  COMPLETED,
  call,
  final,
  GOOD_RECORDS,
  history,
  job,
  journal,
  outcome,
  record,
  reported,
  STARTED,
  SUBMITTED,
} from "./histories.ts";

const reply = COMPLETED.job;
const running = STARTED.job;

test("a good history passes", () => {
  const entries = history(
    GOOD_RECORDS,
    call({ reply: SUBMITTED.job }),
    call({ call: "get", jobId: "job-1", body: "", startMs: 6_000, endMs: 6_010, reply }),
  );
  assert.deepEqual(check(entries), []);
});

interface Case {
  readonly name: string;
  readonly entries: readonly Entry[];
  readonly expected: readonly string[];
}

const BATCH = {
  kind: "batch",
  leader: "",
  epoch: 1,
  outcomesThrough: 100,
  lastLease: 100,
  records: [],
} as const;

const CASES: readonly Case[] = [
  {
    name: "an old leader writes after a new one has begun",
    entries: [
      ...history(GOOD_RECORDS),
      { ...BATCH, sequence: 5, leader: "scheduler:2", epoch: 0 },
      { ...BATCH, sequence: 6 },
    ],
    expected: ["epoch"],
  },
  {
    name: "outcomes_through goes back",
    entries: [...history(GOOD_RECORDS), { ...BATCH, sequence: 5, outcomesThrough: 99 }],
    expected: ["outcomes-through"],
  },
  {
    name: "last_lease goes back",
    entries: [...history(GOOD_RECORDS), { ...BATCH, sequence: 5, lastLease: 99 }],
    expected: ["lease-order"],
  },
  {
    name: "the recording has a hole",
    entries: [...history(GOOD_RECORDS), { ...BATCH, sequence: 6 }],
    expected: ["recording"],
  },
  {
    name: "a lease number is used twice",
    entries: history(
      [
        ...GOOD_RECORDS,
        { ...SUBMITTED, jobId: "job-2", job: job("PENDING", 1, { jobId: "job-2", body: "b" }) },
        { ...STARTED, jobId: "job-2", job: job("RUNNING", 2, { jobId: "job-2", body: "b" }) },
        { ...COMPLETED, jobId: "job-2", job: job("COMPLETED", 3, { jobId: "job-2", body: "b" }) },
      ],
      outcome(1, "completed", 2, { jobId: "job-2" }),
    ),
    expected: ["lease-order"],
  },
  {
    name: "a lease is above the batch's last_lease",
    entries: [
      ...journal(GOOD_RECORDS, { lastLease: 0 }).map((batch) => ({ ...batch, lastLease: 0 })),
      outcome(1, "completed"),
      final([reply as NonNullable<typeof reply>]),
    ],
    expected: ["lease-order"],
  },
  {
    name: "time goes back",
    entries: history([SUBMITTED, STARTED, { ...COMPLETED, atMs: 999 }]),
    expected: ["time"],
  },
  {
    name: "a job is completed before it was created",
    entries: history([
      SUBMITTED,
      STARTED,
      record("job.completed", job("COMPLETED", 3, { completedAtMs: 1 })),
    ]),
    expected: ["time"],
  },
  {
    name: "a revision is missing",
    entries: history([SUBMITTED, STARTED, record("job.completed", job("COMPLETED", 4))]),
    expected: ["revision"],
  },
  {
    name: "a job begins in the middle",
    entries: history([
      { ...STARTED, revision: 1 },
      { ...COMPLETED, revision: 2 },
    ]),
    expected: ["revision"],
  },
  {
    name: "a deleted job comes back",
    entries: history([
      ...GOOD_RECORDS,
      record("job.deleted", undefined, { revision: 4 }),
      record("job.retried", job("PENDING", 5), { revision: 5 }),
      record("job.cancelled", job("CANCELLED", 6)),
    ]),
    expected: ["revision"],
  },
  {
    name: "a job ends twice",
    entries: history([...GOOD_RECORDS, record("job.failed", job("FAILED", 4))]),
    expected: ["terminal"],
  },
  {
    name: "a cancelled job runs again",
    entries: history([
      SUBMITTED,
      record("job.cancelled", job("CANCELLED", 2)),
      record("job.started", job("RUNNING", 3), { lease: 1 }),
      record("job.completed", job("COMPLETED", 4)),
    ]),
    expected: ["lease", "terminal"],
  },
  {
    name: "a job changes without an event",
    entries: history([...GOOD_RECORDS, record("", job("COMPLETED", 3, { retries: 1 }))]),
    expected: ["terminal"],
  },
  {
    name: "a lease that has said nothing ends",
    entries: [...journal(GOOD_RECORDS), final([reply as NonNullable<typeof reply>])],
    expected: ["lease"],
  },
  {
    name: "another lease's outcome ends the current one",
    entries: [...journal(GOOD_RECORDS), outcome(7, "completed"), final([reply as NonNullable<typeof reply>])],
    expected: ["lease"],
  },
  {
    name: "an outcome counts before it is taken up",
    entries: [
      ...journal(GOOD_RECORDS),
      outcome(1, "completed", 101),
      final([reply as NonNullable<typeof reply>]),
    ],
    expected: ["lease"],
  },
  {
    name: "a job is leased while it is leased",
    entries: history(
      [
        SUBMITTED,
        STARTED,
        record("job.checkpointed", job("RUNNING", 3), { lease: 2, checkpointNumber: 1 }),
        record("job.completed", job("COMPLETED", 4)),
      ],
      outcome(2, "completed", 2),
    ),
    expected: ["lease"],
  },
  {
    name: "a checkpoint that nobody reported",
    entries: history([
      SUBMITTED,
      STARTED,
      record("job.checkpointed", job("RUNNING", 3), { lease: 1, checkpointNumber: 1 }),
      record("job.completed", job("COMPLETED", 4)),
    ]),
    expected: ["lease"],
  },
  {
    name: "an older checkpoint comes after a newer one",
    entries: history(
      [
        SUBMITTED,
        STARTED,
        record("job.checkpointed", job("RUNNING", 3), { lease: 1, checkpointNumber: 2 }),
        record("job.checkpointed", job("RUNNING", 4), { lease: 1, checkpointNumber: 1 }),
        record("job.completed", job("COMPLETED", 5)),
      ],
      outcome(1, "checkpoint", 1, { checkpointNumber: 1 }),
      outcome(1, "checkpoint", 1, { checkpointNumber: 2 }),
    ),
    expected: ["lease"],
  },
  {
    name: "an outcome of the current lease is passed over",
    entries: [
      ...journal([SUBMITTED, STARTED]).map((batch) => ({ ...batch, outcomesThrough: batch.sequence })),
      outcome(1, "completed", 3),
      final([running as NonNullable<typeof running>]),
    ],
    expected: ["outcome-skipped", "settled"],
  },
  {
    name: "a job waits with a lease",
    entries: history([
      SUBMITTED,
      record("job.ready", job("PENDING", 2), { lease: 1 }),
      { ...COMPLETED, revision: 3 },
    ]),
    expected: ["lease"],
  },
  {
    name: "more retries than allowed",
    entries: history([SUBMITTED, STARTED, record("job.completed", job("COMPLETED", 3, { retries: 4 }))]),
    expected: ["retries"],
  },
  {
    name: "a job goes on after its cancel was requested",
    entries: history(
      [
        SUBMITTED,
        STARTED,
        record("job.cancel_requested", job("RUNNING", 3, { cancelRequested: true }), { lease: 1 }),
        record("job.retrying", job("SCHEDULED", 4, { cancelRequested: true })),
        record("job.cancelled", job("CANCELLED", 5)),
      ],
      outcome(1, "failed", 2),
    ),
    expected: ["cancel"],
  },
  {
    name: "a concurrency key has more leases than its limit",
    entries: twoRunning({ concurrencyKey: "key", concurrencyLimit: 1 }),
    expected: ["concurrency"],
  },
  {
    name: "a worker has more leases than slots",
    entries: twoRunning({ workerId: "w" }).map((entry) =>
      entry.kind === "final" ? { ...entry, workerSlots: 1 } : entry,
    ),
    expected: ["concurrency"],
  },
  {
    name: "a process ends by itself",
    entries: [
      ...history(GOOD_RECORDS),
      { kind: "exit", process: "index", atMs: 1, wasReady: true, how: "exit code 1", lastLines: [] },
    ],
    expected: ["process"],
  },
];

function twoRunning(fields: Parameters<typeof job>[2]): Entry[] {
  const second = { ...fields, jobId: "job-2", body: "body-2" };
  const records = [
    record("job.submitted", job("PENDING", 1, fields)),
    record("job.started", job("RUNNING", 2, fields), { lease: 1 }),
    record("job.submitted", job("PENDING", 1, second)),
    record("job.started", job("RUNNING", 2, second), { lease: 2 }),
    record("job.completed", job("COMPLETED", 3, fields)),
    record("job.completed", job("COMPLETED", 3, second)),
  ];
  return history(records, outcome(2, "completed", 2, { jobId: "job-2" }));
}

for (const { name, entries, expected } of CASES) {
  test(`caught: ${name}`, () => assert.deepEqual(reported(entries), expected));
}

test("a loss ends a lease that has said nothing", () => {
  const lost = record("job.lost", job("PENDING", 3, { losses: 1 }));
  const cancelled = record("job.cancelled", job("CANCELLED", 4, { losses: 1 }));
  const entries = [
    ...journal([SUBMITTED, STARTED, lost, cancelled]),
    final([cancelled.job ?? job("FAILED", 1)]),
  ];
  assert.deepEqual(check(entries), []);
});
