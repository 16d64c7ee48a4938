import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job, JobError, JobProgress, JobResult, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { CANCELLED, COMPLETED, FAILED, type JobState, PENDING, RUNNING, SCHEDULED } from "./state.ts";

/** Named constructors of states: the only places that set a status, so that field combinations are right for free. */

export const DEFAULT_MAX_RETRIES = 3;

const NO_BYTES = Buffer.alloc(0);

/** A new job: PENDING, or SCHEDULED while its run_at is in the future. */
export function submitted(submission: Submission, now: Date): JobState {
  const { request } = submission;
  const runAt = request?.runAt && request.runAt > now ? request.runAt : undefined;
  const job: Job = {
    jobId: submission.jobId,
    type: submission.type,
    status: runAt ? SCHEDULED : PENDING,
    libraryId: request?.libraryId ?? "",
    spec: request?.spec,
    progress: undefined,
    result: undefined,
    error: undefined,
    attempt: 0,
    retries: 0,
    maxRetries: request?.maxRetries ?? DEFAULT_MAX_RETRIES,
    losses: 0,
    revision: 1n,
    createdAt: now,
    runAt: runAt ?? now,
    startedAt: undefined,
    completedAt: undefined,
    cancelRequested: false,
    workerId: "",
    labels: request?.labels ?? {},
    requestId: request?.requestId ?? "",
    itemCount: submission.itemCount,
    payloadBytes: submission.payloadBytes,
    executionTimeout: request?.executionTimeout,
    attempts: [],
    waitingFor: "",
  };
  return {
    job,
    requestDigest: submission.requestDigest,
    payloadObject: submission.payloadObject,
    lease: 0n,
    checkpoint: NO_BYTES,
    checkpointNumber: 0,
    fencePending: 0n,
    consecutiveLosses: 0,
    leasesGranted: 0,
    cancelReason: "",
  };
}

/** Ready to run: its time has come, or it was given back. */
export function ready(state: JobState, now: Date): JobState {
  return next(state, { status: PENDING, runAt: now, workerId: "" }, { lease: 0n });
}

/** Waits for a time: a backoff or a snooze. */
export function scheduledAt(state: JobState, runAt: Date): JobState {
  return next(state, { status: SCHEDULED, runAt, workerId: "" }, { lease: 0n });
}

/** Leased to a worker. A lease after a loss, a drain or a snooze repeats the attempt's number. */
export function leased(state: JobState, lease: bigint, workerId: string, now: Date): JobState {
  return next(
    state,
    { status: RUNNING, attempt: state.job.retries + 1, workerId, startedAt: now },
    { lease, checkpointNumber: 0, leasesGranted: state.leasesGranted + 1 },
  );
}

export function checkpointed(
  state: JobState,
  number: number,
  data: Buffer,
  progress: JobProgress | undefined,
): JobState {
  // Progress was made: losses before it say nothing about whether this job kills its workers.
  const after = { checkpoint: data, checkpointNumber: number, consecutiveLosses: 0 };
  return next(state, { progress: progress ?? state.job.progress }, after);
}

export function cancelRequested(state: JobState, reason: string): JobState {
  return next(state, { cancelRequested: true }, { cancelReason: reason });
}

export function completed(
  state: JobState,
  result: JobResult | undefined,
  progress: JobProgress | undefined,
  now: Date,
): JobState {
  return ended(state, COMPLETED, { result, error: undefined, progress: progress ?? state.job.progress }, now);
}

export function failed(state: JobState, error: JobError, now: Date): JobState {
  return ended(state, FAILED, { error }, now);
}

export function cancelled(
  state: JobState,
  partialResult: JobResult | undefined,
  progress: JobProgress | undefined,
  now: Date,
): JobState {
  const changes = { result: partialResult, progress: progress ?? state.job.progress, cancelRequested: true };
  return ended(state, CANCELLED, changes, now);
}

/** One failed attempt, before the retry or the end is decided. */
export function withError(state: JobState, error: JobError): JobState {
  return { ...state, job: { ...state.job, error } };
}

export function withRetry(state: JobState): JobState {
  return { ...state, job: { ...state.job, retries: state.job.retries + 1 } };
}

/** One lost worker, before what follows is decided; the fence of a job with a library is to be closed. */
export function withLoss(state: JobState): JobState {
  return {
    ...state,
    job: { ...state.job, losses: state.job.losses + 1 },
    consecutiveLosses: state.consecutiveLosses + 1,
    fencePending: state.job.libraryId === "" ? 0n : state.lease,
  };
}

/** The fence is closed. Nothing that clients see: the revision stays. */
export function fenceClosed(state: JobState): JobState {
  return { ...state, fencePending: 0n };
}

function ended(state: JobState, status: JobStatus, changes: Partial<Job>, now: Date): JobState {
  return next(state, { ...changes, status, completedAt: now }, { lease: 0n, checkpoint: NO_BYTES });
}

/** Every transition that clients see raises the revision by one. */
function next(state: JobState, job: Partial<Job>, rest: Partial<Omit<JobState, "job">>): JobState {
  return { ...state, ...rest, job: { ...state.job, ...job, revision: state.job.revision + 1n } };
}
