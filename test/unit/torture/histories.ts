import { check } from "../../torture/checker.ts";
import type {
  BatchEntry,
  CallEntry,
  Entry,
  FinalEntry,
  JobView,
  OutcomeEntry,
  RecordView,
  Report,
  Status,
} from "../../torture/history.ts";

/** Histories made by hand: a small good one, and the pieces of which bad ones are made. */

export function job(status: Status, revision: number, fields: Partial<JobView> = {}): JobView {
  const view = {
    jobId: "job-1",
    type: "echo",
    status,
    revision,
    libraryId: "",
    requestId: "",
    body: "body-1",
    attempt: 0,
    retries: 0,
    maxRetries: 3,
    losses: 0,
    workerId: "",
    cancelRequested: false,
    errorCode: "",
    createdAtMs: 1_000,
    startedAtMs: undefined,
    completedAtMs: undefined,
    totalTimeout: false,
    concurrencyKey: "",
    concurrencyLimit: 0,
    itemCount: 0,
    result: undefined,
    ...fields,
  };
  return { ...view, fingerprint: fields.fingerprint ?? JSON.stringify(view) };
}

export function record(
  event: string,
  state: JobView | undefined,
  fields: Partial<RecordView> = {},
): RecordView {
  return {
    jobId: state?.jobId ?? "job-1",
    revision: state?.revision ?? 0,
    event,
    atMs: 1_000,
    lease: 0,
    fencePending: 0,
    checkpointNumber: 0,
    job: state,
    ...fields,
  };
}

/** Batches of one record each behind an EPOCH batch. */
export function journal(records: readonly RecordView[], fields: Partial<BatchEntry> = {}): BatchEntry[] {
  const batch = { kind: "batch", leader: "", outcomesThrough: 100, lastLease: 100 } as const;
  const epoch = { ...batch, sequence: 1, epoch: 0, leader: "scheduler:1", records: [] };
  return [
    epoch,
    ...records.map((each, n) => ({ ...batch, sequence: n + 2, epoch: 1, records: [each], ...fields })),
  ];
}

export function outcome(
  lease: number,
  report: Report,
  sequence = 1,
  fields: Partial<OutcomeEntry> = {},
): OutcomeEntry {
  return {
    kind: "outcome",
    sequence,
    seenAtMs: 1_000,
    workerId: "worker",
    jobId: "job-1",
    lease,
    report,
    checkpointNumber: 0,
    ...fields,
  };
}

let calls = 0;

export function call(fields: Partial<CallEntry>): CallEntry {
  calls += 1;
  return {
    kind: "call",
    id: calls,
    call: "submit",
    startMs: 5_000,
    endMs: 5_010,
    jobId: "",
    requestId: "",
    body: "body-1",
    reply: undefined,
    code: "",
    reason: "",
    message: "",
    ...fields,
  };
}

export function final(jobs: readonly JobView[], fields: Partial<FinalEntry> = {}): FinalEntry {
  return {
    kind: "final",
    jobs,
    totalSize: jobs.length,
    settledAfterMs: 10,
    unsettled: "",
    workerSlots: 4,
    eventsComplete: true,
    ...fields,
  };
}

export const SUBMITTED = record("job.submitted", job("PENDING", 1));
export const STARTED = record(
  "job.started",
  job("RUNNING", 2, { attempt: 1, workerId: "w", startedAtMs: 1_000 }),
  {
    lease: 1,
  },
);
export const COMPLETED = record(
  "job.completed",
  job("COMPLETED", 3, { attempt: 1, workerId: "w", startedAtMs: 1_000, completedAtMs: 1_000 }),
);

/** One job from its submit to its end, all as it should be. */
export const GOOD_RECORDS: readonly RecordView[] = [SUBMITTED, STARTED, COMPLETED];

export function withEnd(records: readonly RecordView[]): Entry {
  const last = new Map(records.map((each) => [each.jobId, each.job]));
  return final([...last.values()].flatMap((each) => each ?? []));
}

/** A history of these records, ended as it should be, and of further entries. */
export function history(records: readonly RecordView[], ...more: readonly Entry[]): Entry[] {
  return [...journal(records), outcome(1, "completed"), ...more, withEnd(records)];
}

/** Names of the checks that report something, each once. */
export function reported(entries: readonly Entry[]): string[] {
  return [...new Set(check(entries).map((violation) => violation.check))].sort();
}
