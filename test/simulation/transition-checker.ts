import {
  CANCELLED,
  COMPLETED,
  FAILED,
  isTerminal,
  type JobState,
  PENDING,
  RUNNING,
  SCHEDULED,
} from "../../services/scheduler/domain/state.ts";
import type { Reported } from "./journal-checker.ts";
import { textOf } from "./states.ts";

/** What is known beside the two states. */
export interface Evidence {
  /** Time of the decision, and time since the start at which it was stored. */
  readonly atMs: number;
  readonly nowMs: number;
  /** OUTCOMES is taken up to here. */
  readonly through: number;
  /** What the lease before has reported. */
  readonly reports: readonly Reported[] | undefined;
}

type Fail = (message: string) => void;

/** A scheduler may take so long from a look at the end of OUTCOMES to the record that gives up a lease. */
const LOSS_DELAY_MS = 2_500;

/** One job, from one record to the next. */
export function checkTransition(
  before: JobState | undefined,
  after: JobState | undefined,
  event: string,
  evidence: Evidence,
  fail: Fail,
): void {
  if (after) checkState(after, fail);
  if (event === "job.submitted") {
    if (before) fail("it is there already");
    return;
  }
  if (!before) {
    fail("there is no such job");
    return;
  }
  if (event === "") {
    checkSame(before, after, fail);
    return;
  }
  if (isTerminal(before.job.status) && event !== "job.retried" && event !== "job.deleted") {
    fail(`it had ended as ${before.job.status}`);
  }
  if (!after || event === "job.deleted") {
    checkDeleted(before, after, event, fail);
    return;
  }
  if (event === "job.retried") {
    if (!isTerminal(before.job.status)) fail("it has not ended");
    if (after.job.status !== PENDING) fail(`it is ${after.job.status}`);
    return;
  }
  if (event === "job.started") checkStart(before, after, evidence, fail);
  else if (after.lease !== 0n && after.lease !== before.lease) {
    fail(`from lease ${before.lease} to ${after.lease}`);
  }
  if (before.lease !== 0n && after.lease === 0n) checkEnd(before, after, event, evidence, fail);
  if (event === "job.checkpointed") checkCheckpoint(before, after, evidence, fail);
  if (event === "job.ready" && before.job.status !== SCHEDULED) fail(`it was ${before.job.status}`);
  if (event === "job.ready" && (before.job.runAt?.getTime() ?? 0) > evidence.atMs) fail("before its time");
}

function checkState({ job, lease, consecutiveLosses }: JobState, fail: Fail): void {
  if ((job.status === RUNNING) !== (lease !== 0n)) fail(`status ${job.status} with lease ${lease}`);
  if (job.status === RUNNING && job.workerId === "") fail("it runs nowhere");
  if (isTerminal(job.status) !== (job.completedAt !== undefined)) fail("its end and its status differ");
  if (job.retries > job.maxRetries) fail(`${job.retries} retries of ${job.maxRetries}`);
  if (consecutiveLosses > 3) fail(`${consecutiveLosses} losses in a row`);
}

/** Written again, or its fence was closed. */
function checkSame(before: JobState, after: JobState | undefined, fail: Fail): void {
  if (!after) {
    fail("it is gone");
    return;
  }
  if (after.fencePending !== 0n && after.fencePending !== before.fencePending) fail("another open fence");
  if (textOf({ ...before, fencePending: 0n }) !== textOf({ ...after, fencePending: 0n })) {
    fail("it changes without an event");
  }
}

function checkDeleted(before: JobState, after: JobState | undefined, event: string, fail: Fail): void {
  if (after || event !== "job.deleted") fail("deleted and not deleted");
  if (!isTerminal(before.job.status)) fail("it had not ended");
  if (before.fencePending !== 0n) fail("its fence was open");
}

function checkStart(before: JobState, after: JobState, { atMs }: Evidence, fail: Fail): void {
  if (before.job.status !== PENDING) fail(`it was ${before.job.status}`);
  if (before.job.cancelRequested) fail("it was to be cancelled");
  if (before.deadline && before.deadline.getTime() <= atMs) fail("its total timeout was up");
  if (after.job.status !== RUNNING) fail(`it is ${after.job.status}`);
}

const ENDED_BY: Readonly<Record<string, readonly string[]>> = {
  "job.completed": ["completed"],
  "job.released": ["released", "cancelled"],
  "job.snoozed": ["released"],
  "job.retrying": ["failed"],
  "job.failed": ["failed", "released", "cancelled"],
  "job.cancelled": ["cancelled", "failed", "released"],
};

/** A lease ended: its worker was lost, or the first ending that the lease has reported says so. */
function checkEnd(before: JobState, after: JobState, event: string, evidence: Evidence, fail: Fail): void {
  const { reports = [], through, nowMs } = evidence;
  const ending = reports.find(({ report }) => report.$case !== "checkpoint");
  const { status } = after.job;
  if (before.job.cancelRequested && status !== CANCELLED && status !== COMPLETED) {
    fail(`a cancel was requested, and it is ${status}`);
  }
  if (!before.job.cancelRequested && status === CANCELLED) fail("nobody has asked for a cancel");
  if (after.job.losses > before.job.losses) {
    if (ending && ending.storedAtMs < nowMs - LOSS_DELAY_MS) {
      const ago = Math.round(nowMs - ending.storedAtMs);
      fail(`lease ${before.lease} was given up, ${ago} ms after it had reported ${ending.report.$case}`);
    }
    if (before.job.libraryId !== "" && after.fencePending !== before.lease) fail("its fence is left open");
    return;
  }
  if (!ending || ending.sequence > through) {
    fail(`lease ${before.lease} has not reported its end`);
    return;
  }
  const kind = ending.report.$case;
  if (!ENDED_BY[event]?.includes(kind)) fail(`lease ${before.lease} has reported ${kind}`);
  if (kind === "completed" && status !== COMPLETED) fail("it had completed");
  if (status === FAILED && kind !== "failed" && !before.deadline) fail(`it failed when it ${kind}`);
}

function checkCheckpoint(before: JobState, after: JobState, evidence: Evidence, fail: Fail): void {
  const { checkpointNumber } = after;
  if (checkpointNumber <= before.checkpointNumber) {
    fail(`checkpoint ${checkpointNumber} after ${before.checkpointNumber}`);
  }
  const reported = evidence.reports?.some(
    ({ report }) => report.$case === "checkpoint" && report.value.number === checkpointNumber,
  );
  if (!reported) fail(`lease ${before.lease} has not reported checkpoint ${checkpointNumber}`);
}
