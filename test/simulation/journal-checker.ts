import { JournalBatch, JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";
import { type Outcome, OutcomeBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { JobState } from "../../services/scheduler/domain/state.ts";
import { stateOf } from "../../services/scheduler/store.ts";
import { checkLimits } from "./limits-checker.ts";
import { checkTransition } from "./transition-checker.ts";

/** A record with where it stands. */
export interface Placed {
  readonly sequence: number;
  readonly event: string;
  /** undefined = deleted. */
  readonly state: JobState | undefined;
}

/** An ending or a checkpoint that a worker has reported. */
export interface Reported {
  readonly sequence: number;
  readonly storedAtMs: number;
  readonly report: NonNullable<Outcome["outcome"]>;
}

export interface JournalCheckerOptions {
  /** Of each worker. */
  readonly slots: number;
  /** ms since the start. */
  readonly now: () => number;
  readonly fail: (message: string) => void;
  readonly note: ((line: string) => void) | undefined;
  /** False: a worker's heartbeats arrive. */
  readonly mayBeLost: (workerId: string) => boolean;
}

/**
 * Reads the journal as it is written, and knows no more than what it says and what workers reported: every batch must
 * follow from those before it. Written anew from the rules, not with the code that it checks.
 */
export class JournalChecker {
  /** The newest record of every job that is not deleted. */
  readonly jobs = new Map<string, JobState>();
  /** All records of each job, deleted ones too. */
  readonly history = new Map<string, Placed[]>();
  readonly #fail: (message: string) => void;
  readonly #mayBeLost: (workerId: string) => boolean;
  readonly #note: ((line: string) => void) | undefined;
  readonly #now: () => number;
  readonly #slots: number;
  readonly #reports = new Map<bigint, Reported[]>();
  #endings: { readonly sequence: number; readonly jobId: string; readonly lease: bigint }[] = [];
  readonly #requests = new Map<string, string>();
  readonly #closed = new Map<string, bigint>();
  readonly #writtenBy = new Map<string, bigint>();
  #epoch = 0;
  #outcomesThrough = 0;
  #lastLease = 0n;
  #highestLease = 0n;
  #lastAtMs = 0;
  #queues: readonly Queue[] = [];
  /** Records read. */
  records = 0;

  constructor({ slots, now, fail, note, mayBeLost }: JournalCheckerOptions) {
    this.#slots = slots;
    this.#now = now;
    this.#fail = fail;
    this.#note = note;
    this.#mayBeLost = mayBeLost;
  }

  /** What is set for queues, as of the newest batch. */
  get queues(): readonly Queue[] {
    return this.#queues;
  }

  onOutcomes(sequence: number, data: Uint8Array): void {
    const storedAtMs = this.#now();
    for (const { jobId, lease, outcome: report } of OutcomeBatch.decode(data).outcomes) {
      if (!report) continue;
      this.#note?.(`outcomes ${sequence}: lease ${lease} of ${jobId} ${report.$case}`);
      const reports = this.#reports.get(lease) ?? [];
      reports.push({ sequence, storedAtMs, report });
      this.#reports.set(lease, reports);
      if (report.$case !== "checkpoint") this.#endings.push({ sequence, jobId, lease });
    }
  }

  /** The index has accepted a change. */
  onWritten(jobId: string, lease: bigint): void {
    const closed = this.#closed.get(jobId) ?? 0n;
    if (lease <= closed) this.#fail(`the index took a change of lease ${lease} of ${jobId}, which has ended`);
    const last = this.#writtenBy.get(jobId) ?? 0n;
    if (lease < last)
      this.#fail(`the index took a change of lease ${lease} of ${jobId} after one of ${last}`);
    this.#writtenBy.set(jobId, lease);
  }

  onJournal(sequence: number, data: Uint8Array): void {
    const batch = JournalBatch.decode(data);
    this.#checkBatch(sequence, batch);
    for (const bytes of batch.records) this.#onRecord(sequence, JournalRecord.decode(bytes), batch);
    this.#queues = batch.queues;
    this.#checkPassedOver(sequence);
  }

  #checkBatch(sequence: number, batch: JournalBatch): void {
    const where = `batch ${sequence}`;
    if (batch.leaderAddress !== "") {
      this.#epoch = sequence;
      this.#note?.(`journal ${sequence}: ${batch.leaderAddress} leads`);
    }
    if (batch.leaderAddress === "" && Number(batch.epoch) !== this.#epoch) {
      this.#fail(`${where} is of epoch ${batch.epoch}, but ${this.#epoch} had begun: two schedulers write`);
    }
    const through = Number(batch.outcomesThrough);
    if (through < this.#outcomesThrough) {
      this.#fail(`${where}: outcomes_through goes back from ${this.#outcomesThrough} to ${through}`);
    }
    if (batch.lastLease < this.#lastLease) {
      this.#fail(`${where}: last_lease goes back from ${this.#lastLease} to ${batch.lastLease}`);
    }
    this.#outcomesThrough = through;
    this.#lastLease = batch.lastLease;
  }

  #onRecord(sequence: number, record: JournalRecord, batch: JournalBatch): void {
    const { jobId, event, revision, at } = record;
    const atMs = at?.getTime() ?? 0;
    const before = this.jobs.get(jobId);
    const after = record.state ? stateOf(record) : undefined;
    const where = `batch ${sequence}, ${event || "record again"} of ${jobId}`;
    const fail = (message: string): void => this.#fail(`${where}: ${message}`);
    if (atMs < this.#lastAtMs) fail(`the time goes back by ${this.#lastAtMs - atMs} ms`);
    this.#lastAtMs = atMs;
    const expected = (before?.job.revision ?? 0n) + (event === "" ? 0n : 1n);
    if (revision !== expected) fail(`revision ${revision}, expected ${expected}`);
    if (after && after.job.revision !== revision) fail(`the job says revision ${after.job.revision}`);
    const reports = before ? this.#reports.get(before.lease) : undefined;
    const evidence = { atMs, nowMs: this.#now(), through: Number(batch.outcomesThrough), reports };
    checkTransition(before, after, event, evidence, fail);
    if (event === "job.started" && after) {
      if (after.lease <= this.#highestLease) fail(`lease ${after.lease} after ${this.#highestLease}`);
      if (after.lease > batch.lastLease) fail(`lease ${after.lease}, but last_lease is ${batch.lastLease}`);
      this.#highestLease = after.lease;
      checkLimits(after, this.jobs.values(), this.#slots, [this.#queues, batch.queues], fail);
    }
    if (before && after && after.job.losses > before.job.losses && !this.#mayBeLost(before.job.workerId)) {
      fail(`${before.job.workerId} was given up, but nothing kept it from being heard`);
    }
    this.#followRequest(before, after, fail);
    this.#followFence(before, after);
    this.records += 1;
    this.#note?.(`journal ${sequence}: ${jobId} ${event} revision ${revision} lease ${after?.lease ?? ""}`);
    const history = this.history.get(jobId) ?? [];
    history.push({ sequence, event, state: after });
    this.history.set(jobId, history);
    if (after) this.jobs.set(jobId, after);
    else this.jobs.delete(jobId);
  }

  #followRequest(
    before: JobState | undefined,
    after: JobState | undefined,
    fail: (message: string) => void,
  ): void {
    const requestId = (after ?? before)?.job.requestId ?? "";
    if (requestId === "") return;
    const owner = this.#requests.get(requestId);
    const jobId = after?.job.jobId;
    if (!jobId) this.#requests.delete(requestId);
    else if (owner !== undefined && owner !== jobId) fail(`request ${requestId} made ${owner} before`);
    else this.#requests.set(requestId, jobId);
  }

  /** Which leases can't change anything any more. */
  #followFence(before: JobState | undefined, after: JobState | undefined): void {
    if (!before) return;
    const { jobId } = before.job;
    let closed = 0n;
    if (before.lease !== 0n && after?.lease !== before.lease && after?.fencePending !== before.lease) {
      closed = before.lease;
    }
    if (before.fencePending > (after?.fencePending ?? 0n)) closed = before.fencePending;
    if (closed > (this.#closed.get(jobId) ?? 0n)) this.#closed.set(jobId, closed);
  }

  /** What is said to be taken up must be: no ending of the current lease is passed over. */
  #checkPassedOver(sequence: number): void {
    let checked = 0;
    for (const { sequence: at, jobId, lease } of this.#endings) {
      if (at > this.#outcomesThrough) break;
      checked += 1;
      if (this.jobs.get(jobId)?.lease !== lease) continue;
      this.#fail(
        `batch ${sequence}: outcome ${at} of the current lease ${lease} of ${jobId} was passed over`,
      );
    }
    if (checked > 0) this.#endings = this.#endings.slice(checked);
  }
}
