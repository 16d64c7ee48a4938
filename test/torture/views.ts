import { createHash } from "node:crypto";
import { JournalBatch, JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { type Outcome, OutcomeBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { BatchEntry, JobView, OutcomeEntry, RecordView, Report, Status } from "./history.ts";

/** From the wire to what a history holds. */

/** The label of every job that a run submits. */
export const BODY_LABEL = "body";

const STATUS = new Map(
  Object.entries(JobStatus).map(([name, value]) => [
    value as number,
    name.replace("JOB_STATUS_", "") as Status,
  ]),
);

export function viewOf(job: Job): JobView {
  const { result } = job.result ?? {};
  const counts = result?.$case === "batchImport" ? result.value : undefined;
  return {
    jobId: job.jobId,
    type: job.type,
    status: STATUS.get(job.status) ?? "UNSPECIFIED",
    revision: Number(job.revision),
    libraryId: job.libraryId,
    requestId: job.requestId,
    body: job.labels[BODY_LABEL] ?? "",
    attempt: job.attempt,
    retries: job.retries,
    maxRetries: job.maxRetries,
    losses: job.losses,
    workerId: job.workerId,
    cancelRequested: job.cancelRequested,
    errorCode: job.error?.code ?? "",
    createdAtMs: job.createdAt?.getTime() ?? 0,
    startedAtMs: job.startedAt?.getTime(),
    completedAtMs: job.completedAt?.getTime(),
    totalTimeout: job.totalTimeout !== undefined,
    concurrencyKey: job.concurrencyKey,
    concurrencyLimit: job.concurrencyLimit,
    itemCount: Number(job.itemCount),
    result: counts && {
      imported: Number(counts.imported),
      failed: Number(counts.failed),
      chunks: Number(counts.totalChunks),
    },
    fingerprint: fingerprintOf(job),
  };
}

/** Of all that only a transition changes: progress comes between them, waiting_for is as of the read. */
function fingerprintOf(job: Job): string {
  const labels = Object.fromEntries(Object.entries(job.labels).sort(([a], [b]) => (a < b ? -1 : 1)));
  const bytes = Job.encode({ ...job, labels, progress: undefined, waitingFor: "" }).finish();
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}

export function batchOf(sequence: number, data: Uint8Array): BatchEntry {
  const batch = JournalBatch.decode(data);
  return {
    kind: "batch",
    sequence,
    epoch: Number(batch.epoch),
    outcomesThrough: Number(batch.outcomesThrough),
    lastLease: Number(batch.lastLease),
    leader: batch.leaderAddress,
    records: batch.records.map((bytes) => recordOf(JournalRecord.decode(bytes))),
  };
}

function recordOf({ jobId, revision, event, at, state }: JournalRecord): RecordView {
  return {
    jobId,
    revision: Number(revision),
    event,
    atMs: at?.getTime() ?? 0,
    lease: Number(state?.lease ?? 0n),
    fencePending: Number(state?.fencePending ?? 0n),
    checkpointNumber: state?.checkpointNumber ?? 0,
    job: state?.job && viewOf(state.job),
  };
}

/** @param sequence 0 = seen on its way */
export function outcomesOf(sequence: number, data: Uint8Array, seenAtMs: number): OutcomeEntry[] {
  const { workerId, outcomes } = OutcomeBatch.decode(data);
  return outcomes.flatMap(({ jobId, lease, outcome }: Outcome) => {
    if (!outcome) return [];
    const report: Report = outcome.$case;
    const checkpointNumber = outcome.$case === "checkpoint" ? outcome.value.number : 0;
    const entry = { kind: "outcome", sequence, seenAtMs, workerId, jobId, lease: Number(lease) } as const;
    return [{ ...entry, report, checkpointNumber }];
  });
}
