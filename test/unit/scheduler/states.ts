import { Submission } from "../../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { type JobError, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Duration } from "../../../proto/gen/google/protobuf/duration.ts";
import type { Command, Decision, Rejection } from "../../../services/scheduler/domain/commands.ts";
import { decide } from "../../../services/scheduler/domain/decide.ts";
import { BLOCKED, type JobState } from "../../../services/scheduler/domain/state.ts";

/** Jobs in every state, made by the state machine itself, and one command of every kind. */

export const NOW = new Date("2026-01-01T00:00:00Z");
export const LEASE = 7n;
export const WORKER = "worker-1";
const JOB_ID = "01900000-0000-7000-8000-000000000001";

export type Accepted = Extract<Decision, { accepted: true }> & { readonly state: JobState };

export interface Request {
  readonly jobId?: string;
  readonly type?: string;
  readonly libraryId?: string;
  readonly requestId?: string;
  readonly runAt?: Date;
  readonly maxRetries?: number;
  readonly totalTimeout?: Duration;
  readonly concurrencyKey?: string;
  readonly concurrencyLimit?: number;
  readonly payloadObject?: string;
  readonly labels?: Record<string, string>;
}

export function submission(request: Request = {}): Submission {
  const { jobId = JOB_ID, type = "echo", payloadObject = "", ...rest } = request;
  return Submission.fromPartial({ jobId, type, payloadObject, request: rest });
}

export function accepted(state: JobState | undefined, command: Command, now = NOW): Accepted {
  const decision = decide(state, command, now);
  if (!decision.accepted) throw new Error(`${command.kind} was rejected: ${decision.rejection}`);
  if (!decision.state) throw new Error(`${command.kind} left no job`);
  return decision as Accepted;
}

export function rejection(state: JobState | undefined, command: Command, now = NOW): Rejection {
  const decision = decide(state, command, now);
  if (decision.accepted) throw new Error(`${command.kind} was accepted`);
  return decision.rejection;
}

export const retryable: JobError = { code: "BUSY", message: "try again", retryable: true };
export const final: JobError = { code: "BROKEN", message: "never", retryable: false };

export const commands = {
  submit: { kind: "submit", submission: submission() },
  due: { kind: "due" },
  grant: { kind: "grant", lease: LEASE + 1n, workerId: WORKER },
  checkpoint: {
    kind: "checkpoint",
    lease: LEASE,
    number: 1,
    data: Buffer.from("here"),
    progress: undefined,
  },
  complete: { kind: "complete", lease: LEASE, result: undefined, progress: undefined },
  "fail, may be retried": {
    kind: "fail",
    lease: LEASE,
    error: retryable,
    retryAfterMs: undefined,
    timedOut: false,
    random: 0.5,
  },
  "fail, final": {
    kind: "fail",
    lease: LEASE,
    error: final,
    retryAfterMs: undefined,
    timedOut: false,
    random: 0.5,
  },
  stopped: { kind: "stopped", lease: LEASE, partialResult: undefined, progress: undefined },
  release: { kind: "release", lease: LEASE, delayMs: undefined },
  "release, later": { kind: "release", lease: LEASE, delayMs: 1_000 },
  lose: { kind: "lose", lease: LEASE },
  requestCancel: { kind: "requestCancel", reason: "enough" },
  retry: { kind: "retry", fromCheckpoint: false },
  "retry, failed items": { kind: "retry", fromCheckpoint: false, failedItemsOnly: true },
  fenceClosed: { kind: "fenceClosed", lease: LEASE },
  delete: { kind: "delete" },
} as const satisfies Record<string, Command>;
export type CommandName = keyof typeof commands;

export function pending(request: Request = {}): JobState {
  return accepted(undefined, { kind: "submit", submission: submission(request) }).state;
}

export function running(request: Request = {}, lease = LEASE): JobState {
  return accepted(pending(request), { kind: "grant", lease, workerId: WORKER }).state;
}

export function cancelling(request: Request = {}): JobState {
  return accepted(running(request), commands.requestCancel).state;
}

const WITH_LIBRARY = { libraryId: "library-1" };
const lost = (): JobState => accepted(running(WITH_LIBRARY), commands.lose).state;
const poisoned = (): JobState =>
  accepted({ ...running(WITH_LIBRARY), consecutiveLosses: 2 }, commands.lose).state;
const scheduled = (): JobState => accepted(running(), commands["fail, may be retried"]).state;

export const states = {
  "no job": undefined,
  SCHEDULED: scheduled(),
  // Nothing leads there before jobs can wait for others.
  BLOCKED: { ...pending(), job: { ...pending().job, status: BLOCKED } },
  PENDING: pending(),
  "PENDING, fence open": lost(),
  "PENDING, total timeout up": { ...pending(), deadline: NOW },
  RUNNING: running(),
  "RUNNING, 2 losses": { ...running(), consecutiveLosses: 2 },
  "RUNNING, cancel requested": cancelling(),
  "RUNNING, total timeout up": { ...running(), deadline: NOW },
  COMPLETED: accepted(running(), commands.complete).state,
  FAILED: accepted(running(), commands["fail, final"]).state,
  "FAILED, fence open": poisoned(),
  CANCELLED: accepted(pending(), commands.requestCancel).state,
} satisfies Record<string, JobState | undefined>;
export type StateName = keyof typeof states;

/** Late enough for every job to be due. */
const LATER = new Date(NOW.getTime() + 3_600_000);

/** The next state, or the rejection in lower case. */
export function cell(from: StateName, name: CommandName): string {
  const state: JobState | undefined = states[from];
  const decision = decide(state, commands[name], LATER);
  if (!decision.accepted) return decision.rejection.toLowerCase();
  if (!decision.state) return "no job";
  return statusName(decision.state.job.status);
}

export function statusName(status: JobStatus): string {
  const found = Object.entries(JobStatus).find(([, value]) => value === status);
  return (found?.[0] ?? "").replace("JOB_STATUS_", "");
}
