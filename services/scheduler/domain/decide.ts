import type { JobError } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { retryDelayMs } from "./backoff.ts";
import type { Command, Decision, Effect, Rejection } from "./commands.ts";
import { removingExport } from "./exports.ts";
import { hasItems, mayHaveFailedItems } from "./items.ts";
import { librariesOf } from "./libraries.ts";
import { BLOCKED, CANCELLED, isTerminal, type JobState, PENDING, RUNNING, SCHEDULED } from "./state.ts";
import * as transition from "./transitions.ts";

/**
 * The state machine: a job and a command in, the next state and what is to be done out. Pure: the clock and
 * randomness come with the call. docs/state-machine.md draws it; a test tries every state with every command.
 */

/** Losses in a row without progress after which a job counts as poison. */
export const MAX_CONSECUTIVE_LOSSES = 3;

/** @param now never earlier than the time of the job's last transition */
export function decide(state: JobState | undefined, command: Command, now: Date): Decision {
  return removingExport(state, decided(state, command, now));
}

function decided(state: JobState | undefined, command: Command, now: Date): Decision {
  if (command.kind === "submit") {
    if (state) return reject("EXISTS");
    return accept(transition.submitted(command.submission, now), "job.submitted");
  }
  if (!state) return reject("NOT_FOUND");
  switch (command.kind) {
    case "due":
      return decideDue(state, now);
    case "grant":
      return decideGrant(state, command.lease, command.workerId, now);
    case "requestCancel":
      return decideCancel(state, command.reason, now);
    case "retry":
      if (command.endedRevision && state.job.revision > command.endedRevision) return reject("ALREADY");
      if (!isTerminal(state.job.status)) return reject("WRONG_STATE");
      if (command.failedItemsOnly && !mayHaveFailedItems(state)) return reject("NO_FAILED_ITEMS");
      return accept(transition.retried(state, command, now), "job.retried");
    case "fenceClosed":
      if (state.fencePending === 0n || state.fencePending > command.lease) return reject("STALE_LEASE");
      return accept(transition.fenceClosed(state), "");
    case "delete":
      if (!isTerminal(state.job.status) || state.fencePending !== 0n) return reject("WRONG_STATE");
      return accept(undefined, "job.deleted", removeObjects(state));
    default:
      if (state.job.status !== RUNNING || command.lease !== state.lease) return reject("STALE_LEASE");
      if (!("fenceOpen" in command && command.fenceOpen)) return decideOutcome(state, command, now);
      return alsoClosingFence(decideOutcome(transition.withOpenFence(state), command, now), state);
  }
}

/** Whoever ended the lease could not shut itself out of the index: a write of it may still be on its way. */
function alsoClosingFence(decision: Decision, { job, lease }: JobState): Decision {
  const libraryIds = librariesOf(job);
  if (!decision.accepted || libraryIds.length === 0) return decision;
  const effect: Effect = { kind: "closeFence", libraryIds, jobId: job.jobId, lease };
  return { ...decision, effects: [...decision.effects, effect] };
}

type LeaseCommand = Exclude<
  Command,
  | { kind: "submit" }
  | { kind: "due" }
  | { kind: "grant" }
  | { kind: "requestCancel" }
  | { kind: "retry" }
  | { kind: "fenceClosed" }
  | { kind: "delete" }
>;

/** The current lease speaks. With a cancel requested, only a completed job is not CANCELLED. */
function decideOutcome(state: JobState, command: LeaseCommand, now: Date): Decision {
  const cancelling = state.job.cancelRequested;
  switch (command.kind) {
    case "checkpoint":
      if (command.number <= state.checkpointNumber) return reject("STALE_LEASE");
      return accept(
        transition.checkpointed(state, command.number, command.data, command.progress),
        "job.checkpointed",
      );
    case "complete": {
      const done = transition.attemptEnded(state, "completed", now);
      return accept(transition.completed(done, command.result, command.progress, now), "job.completed");
    }
    case "stopped": {
      const stopped = transition.attemptEnded(state, cancelling ? "cancelled" : "released", now);
      if (!cancelling) return goOn(stopped, now, "job.released", now);
      return cancelledNow(stopped, now, command.partialResult, command.progress);
    }
    case "release": {
      const released = transition.attemptEnded(state, cancelling ? "cancelled" : "released", now);
      if (cancelling) return cancelledNow(released, now);
      if (command.delayMs === undefined) return goOn(released, now, "job.released", now);
      return goOn(released, later(now, command.delayMs), "job.snoozed", now);
    }
    case "fail": {
      const outcome = command.timedOut ? "timed_out" : "failed";
      const failed = transition.attemptFailed(state, outcome, command.error, now);
      if (cancelling) return cancelledNow(failed, now);
      // Stopped by the total timeout: that says it all.
      if (command.timedOut && isExpired(failed, now)) return expired(failed, now, undefined);
      return decideFailure(failed, command.error, command.retryAfterMs, command.random, now);
    }
    case "lose":
      return decideLoss(transition.attemptEnded(state, "lost", now), now);
  }
}

function decideDue(state: JobState, now: Date): Decision {
  const { status } = state.job;
  if (isTerminal(status)) return reject("WRONG_STATE");
  // A running attempt is stopped by its worker, which knows the deadline; its report finds it here again.
  if (status !== RUNNING && isExpired(state, now)) return expired(state, now, state.job.error);
  if (status !== SCHEDULED) return reject("WRONG_STATE");
  if (state.job.runAt && state.job.runAt > now) return reject("NOT_DUE");
  return accept(transition.ready(state, now), "job.ready");
}

function decideGrant(state: JobState, lease: bigint, workerId: string, now: Date): Decision {
  if (state.job.status !== PENDING) return reject("WRONG_STATE");
  if (isExpired(state, now)) return reject("NOT_DUE");
  const granted = transition.leased(state, lease, workerId, now);
  return accept(granted, "job.started", [{ kind: "assign", workerId, state: granted }]);
}

function decideCancel(state: JobState, reason: string, now: Date): Decision {
  const { status, workerId, cancelRequested } = state.job;
  if (status === CANCELLED) return reject("ALREADY");
  if (isTerminal(status)) return reject("TERMINAL");
  if (status === PENDING || status === SCHEDULED || status === BLOCKED) {
    return cancelledNow({ ...state, cancelReason: reason }, now);
  }
  if (cancelRequested) return reject("ALREADY");
  return accept(transition.cancelRequested(state, reason), "job.cancel_requested", [
    { kind: "cancelLease", workerId, lease: state.lease },
  ]);
}

function decideFailure(
  state: JobState,
  error: JobError,
  retryAfterMs: number | undefined,
  random: number,
  now: Date,
): Decision {
  const { retries, maxRetries, retryPolicy } = state.job;
  if (!error.retryable || retries >= maxRetries)
    return accept(transition.failed(state, error, now), "job.failed");
  const delayMs = retryDelayMs(retryPolicy, retries, random, retryAfterMs);
  return goOn(transition.withRetry(state), later(now, delayMs), "job.retrying", now);
}

/** Waits until it may be leased again; a job whose total timeout is up by then ends at once. */
function goOn(
  state: JobState,
  at: Date,
  event: string,
  now: Date,
  effects: readonly Effect[] = [],
): Decision {
  if (isExpired(state, at)) return expired(state, now, state.job.error, effects);
  const next = at > now ? transition.scheduledAt(state, at) : transition.ready(state, now);
  return accept(next, event, effects);
}

function isExpired(state: JobState, at: Date): boolean {
  return state.deadline !== undefined && state.deadline <= at;
}

/** The total timeout is up. */
function expired(
  state: JobState,
  now: Date,
  last: JobError | undefined,
  effects: readonly Effect[] = [],
): Decision {
  const message = last
    ? `the total timeout is up; the last failure was ${last.code}: ${last.message}`
    : "the total timeout is up";
  const error = { code: "DEADLINE_EXCEEDED", message, retryable: false };
  return accept(transition.failed(state, error, now), "job.failed", effects);
}

function decideLoss(state: JobState, now: Date): Decision {
  const lost = transition.withLoss(state);
  const effects = closeFence(lost);
  if (state.job.cancelRequested)
    return accept(transition.cancelled(lost, undefined, undefined, now), "job.cancelled", effects);
  if (lost.consecutiveLosses < MAX_CONSECUTIVE_LOSSES) return goOn(lost, now, "job.lost", now, effects);
  const message = `${lost.consecutiveLosses} workers in a row were lost while they ran this job, without a checkpoint in between`;
  return accept(
    transition.failed(lost, { code: "WORKER_LOST", message, retryable: false }, now),
    "job.failed",
    effects,
  );
}

function cancelledNow(
  state: JobState,
  now: Date,
  partialResult?: Parameters<typeof transition.cancelled>[1],
  progress?: Parameters<typeof transition.cancelled>[2],
): Decision {
  return accept(transition.cancelled(state, partialResult, progress, now), "job.cancelled");
}

function closeFence(state: JobState): Effect[] {
  if (state.fencePending === 0n) return [];
  const { job, fencePending } = state;
  return [{ kind: "closeFence", libraryIds: librariesOf(job), jobId: job.jobId, lease: fencePending }];
}

function removeObjects({ job, payloadObject }: JobState): Effect[] {
  const effects: Effect[] = [];
  if (payloadObject !== "") effects.push({ kind: "removePayload", objectId: payloadObject });
  if (hasItems(job)) effects.push({ kind: "removeItems", jobId: job.jobId });
  return effects;
}

function later(now: Date, delayMs: number): Date {
  return new Date(now.getTime() + delayMs);
}

function accept(state: JobState | undefined, event: string, effects: readonly Effect[] = []): Decision {
  return { accepted: true, state, event, effects };
}

function reject(rejection: Rejection): Decision {
  return { accepted: false, rejection };
}
