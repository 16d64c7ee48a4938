import { isTerminal, type OutcomeEntry, type Report, type Violation } from "../history.ts";
import type { JournalView, Placed } from "../journal-view.ts";

/** What each job goes through: ends once, runs under one lease, and changes by what that lease has reported. */
export function* checkTransitions(view: JournalView): Generator<Violation> {
  const reports = new Reports(view.all("outcome"));
  for (const records of view.jobs.values()) {
    let previous: Placed | undefined;
    for (const record of records) {
      if (previous) yield* checkStep(previous, record, reports);
      else yield* checkState(record);
      previous = record;
    }
  }
  yield* checkSkipped(view);
}

/** Events that end a terminal state. */
const REVIVES: ReadonlySet<string> = new Set(["job.retried", "job.deleted"]);

function* checkStep(previous: Placed, record: Placed, reports: Reports): Generator<Violation> {
  yield* checkState(record);
  const before = previous.job;
  const after = record.job;
  if (!before) return;
  const evidence = [previous, record];
  if (isTerminal(before) && record.event !== "" && !REVIVES.has(record.event)) {
    const message = `job ${before.jobId} is ${before.status}, and then "${record.event}" makes it ${after?.status ?? "deleted"}`;
    yield { check: "terminal", message, evidence };
  }
  if (record.event === "" && after && after.fingerprint !== before.fingerprint) {
    const message = `job ${before.jobId} changes without an event`;
    yield { check: "terminal", message, evidence };
  }
  if (record.event === "job.started" && before.status !== "PENDING") {
    const message = `job ${before.jobId} is started while it is ${before.status}`;
    yield { check: "lease", message, evidence };
  }
  if (record.event !== "job.started" && record.lease !== 0 && record.lease !== previous.lease) {
    const message = `job ${before.jobId} changes from lease ${previous.lease} to ${record.lease} with "${record.event}"`;
    yield { check: "lease", message, evidence };
  }
  if (!isTerminal(before) && before.cancelRequested && after && !isTerminal(after)) {
    const kept = after.status === "RUNNING" && record.lease === previous.lease;
    if (!kept) {
      const message = `job ${before.jobId} goes on as ${after.status} although its cancel was requested`;
      yield { check: "cancel", message, evidence };
    }
  }
  if (previous.lease !== 0 && record.event !== "" && record.lease === previous.lease) {
    yield* checkCheckpoint(previous, record, reports);
  }
  if (previous.lease !== 0 && record.lease === 0) yield* checkEnd(previous, record, reports);
}

function* checkState(record: Placed): Generator<Violation> {
  const { job, lease } = record;
  if (!job) return;
  if ((job.status === "RUNNING") !== (lease !== 0)) {
    const message = `job ${job.jobId} is ${job.status} with lease ${lease}`;
    yield { check: "lease", message, evidence: [record] };
  }
  if (job.retries > job.maxRetries) {
    const message = `job ${job.jobId} has ${job.retries} retries of ${job.maxRetries}`;
    yield { check: "retries", message, evidence: [record] };
  }
}

const ENDED_BY: Readonly<Record<string, readonly Report[]>> = {
  "job.completed": ["completed"],
  "job.released": ["released", "cancelled"],
  "job.snoozed": ["released"],
  "job.retrying": ["failed"],
  // A result that is too large fails the job.
  "job.failed": ["failed", "completed"],
  "job.cancelled": ["cancelled", "failed", "released"],
};

/** A lease ended: either its worker was lost, or the lease itself has said so. */
function* checkEnd(previous: Placed, record: Placed, reports: Reports): Generator<Violation> {
  const before = previous.job;
  const after = record.job;
  if (!before || !after || after.losses > before.losses) return;
  if (after.status === "FAILED" && after.totalTimeout && after.errorCode === "DEADLINE_EXCEEDED") return;
  const kinds = ENDED_BY[record.event];
  if (kinds?.some((kind) => reports.has(record, previous.lease, kind))) return;
  const said = reports.of(record.jobId, previous.lease);
  const message = `lease ${previous.lease} of job ${record.jobId} ends with "${record.event}" in batch ${record.sequence}, through ${record.outcomesThrough}, but it has reported ${said}`;
  yield { check: "lease", message, evidence: [previous, record] };
}

function* checkCheckpoint(previous: Placed, record: Placed, reports: Reports): Generator<Violation> {
  if (record.event !== "job.checkpointed") return;
  const { checkpointNumber, lease, jobId } = record;
  if (checkpointNumber <= previous.checkpointNumber) {
    const message = `checkpoint ${checkpointNumber} of lease ${lease} comes after ${previous.checkpointNumber}`;
    yield { check: "lease", message, evidence: [previous, record] };
  }
  if (!reports.has(record, lease, "checkpoint", checkpointNumber)) {
    const message = `lease ${lease} of job ${jobId} has never reported checkpoint ${checkpointNumber}`;
    yield { check: "lease", message, evidence: [previous, record] };
  }
}

/** What is said to be taken up must be: no outcome of the current lease is passed over. */
function* checkSkipped(view: JournalView): Generator<Violation> {
  const stored = view
    .all("outcome")
    .filter(({ sequence, report }) => sequence > 0 && report !== "checkpoint")
    .sort((a, b) => a.sequence - b.sequence);
  const current = new Map<string, Placed>();
  let next = 0;
  for (const batch of view.batches) {
    for (const record of batch.records) {
      const { sequence, outcomesThrough } = batch;
      current.set(record.jobId, { ...record, sequence, outcomesThrough });
    }
    for (; ; next++) {
      const outcome = stored[next];
      if (!outcome || outcome.sequence > batch.outcomesThrough) break;
      const state = current.get(outcome.jobId);
      if (state?.lease !== outcome.lease) continue;
      const message = `outcome ${outcome.sequence} (${outcome.report}) of the current lease ${outcome.lease} of job ${outcome.jobId} was passed over: batch ${batch.sequence} is through ${batch.outcomesThrough}`;
      yield { check: "outcome-skipped", message, evidence: [outcome, state] };
    }
  }
}

/** What leases have said. */
class Reports {
  readonly #said = new Map<string, OutcomeEntry[]>();

  constructor(outcomes: readonly OutcomeEntry[]) {
    for (const outcome of outcomes) {
      const key = `${outcome.jobId} ${outcome.lease}`;
      const said = this.#said.get(key);
      if (said) said.push(outcome);
      else this.#said.set(key, [outcome]);
    }
  }

  /** Whether the record's batch can know of such a report: it is in the part of OUTCOMES that is taken up. */
  has(record: Placed, lease: number, report: Report, checkpointNumber = 0): boolean {
    const said = this.#said.get(`${record.jobId} ${lease}`) ?? [];
    const fitting = said.filter(
      (each) => each.report === report && each.checkpointNumber === checkpointNumber,
    );
    const stored = fitting.filter(({ sequence }) => sequence > 0);
    // Taken up and purged before the recording saw it: that it was sent must do.
    if (stored.length === 0) return fitting.length > 0;
    return stored.some(({ sequence }) => sequence <= record.outcomesThrough);
  }

  /** For people. */
  of(jobId: string, lease: number): string {
    const said = this.#said.get(`${jobId} ${lease}`) ?? [];
    return said.map(({ report, sequence }) => `${report} (${sequence || "sent"})`).join(", ") || "nothing";
  }
}
