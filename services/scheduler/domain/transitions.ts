import type { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type {
  Job,
  JobAttempt,
  JobError,
  JobProgress,
  JobResult,
  JobStatus,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { toMs } from "./backoff.ts";
import { librariesOf } from "./libraries.ts";
import { CANCELLED, COMPLETED, FAILED, type JobState, PENDING, RUNNING, SCHEDULED } from "./state.ts";

/** Named constructors of states: the only places that set a status, so that field combinations are right for free. */

export const DEFAULT_MAX_RETRIES = 3;
/** Attempts that a job lists. */
export const MAX_ATTEMPTS_LISTED = 20;
/** Of the error of each of them, so that a record stays small. */
export const MAX_ATTEMPT_MESSAGE_CHARACTERS = 500;

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
    retryPolicy: request?.retryPolicy,
    totalTimeout: request?.totalTimeout,
    concurrencyKey: request?.concurrencyKey ?? "",
    concurrencyLimit: request?.concurrencyKey ? request.concurrencyLimit || 1 : 0,
    libraryIds: submission.libraryIds,
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
    attemptsFailed: 0,
    deadline: deadlineOf(job, runAt ?? now),
    retried: 0,
    failedItemsOnly: false,
    scope: submission.scope,
  };
}

function deadlineOf({ totalTimeout }: Job, from: Date): Date | undefined {
  const timeoutMs = toMs(totalTimeout);
  return timeoutMs === undefined ? undefined : new Date(from.getTime() + timeoutMs);
}

/**
 * An ended job begins again: all retries are left, and the total timeout starts anew. Attempts are counted on. From a
 * checkpoint it goes on with what it was at: all its items, or those that had failed.
 */
export function retried(
  state: JobState,
  retry: { readonly fromCheckpoint: boolean; readonly failedItemsOnly?: boolean },
  now: Date,
): JobState {
  const { job } = state;
  const failedItemsOnly = retry.failedItemsOnly ?? false;
  const fromCheckpoint = retry.fromCheckpoint && !failedItemsOnly;
  const goesOn = fromCheckpoint && job.status !== COMPLETED;
  const changes = {
    status: PENDING,
    runAt: now,
    completedAt: undefined,
    result: undefined,
    progress: fromCheckpoint ? job.progress : undefined,
    retries: 0,
    cancelRequested: false,
    workerId: "",
  };
  return next(state, changes, {
    checkpoint: fromCheckpoint ? state.checkpoint : NO_BYTES,
    consecutiveLosses: 0,
    cancelReason: "",
    attemptsFailed: job.attempt,
    deadline: deadlineOf(job, now),
    retried: state.retried + 1,
    failedItemsOnly: failedItemsOnly || (goesOn && state.failedItemsOnly),
  });
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
  const attempt = state.attemptsFailed + 1;
  const begun: JobAttempt = {
    attempt,
    lease,
    workerId,
    startedAt: now,
    endedAt: undefined,
    outcome: "",
    error: undefined,
  };
  const attempts = [...state.job.attempts.slice(1 - MAX_ATTEMPTS_LISTED), begun];
  return next(
    state,
    { status: RUNNING, attempt, workerId, startedAt: now, attempts },
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

/** How the current lease ended, before it is decided what follows. */
export function attemptEnded(
  state: JobState,
  outcome: "completed" | "failed" | "timed_out" | "lost" | "released" | "cancelled",
  now: Date,
  error?: JobError,
): JobState {
  const attempts = state.job.attempts.map((each) =>
    each.lease === state.lease ? { ...each, endedAt: now, outcome, error } : each,
  );
  return { ...state, job: { ...state.job, attempts } };
}

/** One failed attempt, before the retry or the end is decided. */
export function attemptFailed(
  state: JobState,
  outcome: "failed" | "timed_out",
  error: JobError,
  now: Date,
): JobState {
  const cut = { ...error, message: error.message.slice(0, MAX_ATTEMPT_MESSAGE_CHARACTERS) };
  const ended = attemptEnded(state, outcome, now, cut);
  return { ...ended, job: { ...ended.job, error }, attemptsFailed: ended.job.attempt };
}

export function withRetry(state: JobState): JobState {
  return { ...state, job: { ...state.job, retries: state.job.retries + 1 } };
}

/** The current lease's fence is to be closed by the scheduler; jobs without a library have none. */
export function withOpenFence(state: JobState): JobState {
  return { ...state, fencePending: librariesOf(state.job).length === 0 ? 0n : state.lease };
}

/** One lost worker, before what follows is decided; the fence of a job with a library is to be closed. */
export function withLoss(state: JobState): JobState {
  return {
    ...withOpenFence(state),
    job: { ...state.job, losses: state.job.losses + 1 },
    consecutiveLosses: state.consecutiveLosses + 1,
  };
}

/** The fence is closed. Nothing that clients see: the revision stays. */
export function fenceClosed(state: JobState): JobState {
  return { ...state, fencePending: 0n };
}

function ended(state: JobState, status: JobStatus, changes: Partial<Job>, now: Date): JobState {
  // What did not complete may be tried again from where it stopped.
  const kept = status === COMPLETED ? { checkpoint: NO_BYTES } : {};
  return next(state, { ...changes, status, completedAt: now }, { lease: 0n, ...kept });
}

/** Every transition that clients see raises the revision by one. */
function next(state: JobState, job: Partial<Job>, rest: Partial<Omit<JobState, "job">>): JobState {
  return { ...state, ...rest, job: { ...state.job, ...job, revision: state.job.revision + 1n } };
}
