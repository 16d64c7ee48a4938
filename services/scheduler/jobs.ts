import type { Clock } from "../../platform/clock.ts";
import { ArrwError } from "../../platform/errors.ts";
import type { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Submission } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { type Job, Job as JobMessage, type JobProgress } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Command, Effect, Rejection } from "./domain/commands.ts";
import { decide } from "./domain/decide.ts";
import { requestKeyOf, scopedKey } from "./domain/scope.ts";
import { isActive, isTerminal, type JobState } from "./domain/state.ts";
import { type Batch, encodeRecord, type Journal, MAX_RECORD_BYTES } from "./journal.ts";
import { type JobStore, stateOf } from "./store.ts";

/**
 * All jobs, as two views. Head: what was decided; the next decision is taken on it. Committed: what the journal has
 * acknowledged; reads, watches and the store see nothing else. Jobs that ended leave memory once the store has them.
 */

export interface Entry {
  readonly jobId: string;
  /** undefined = deleted. */
  head: JobState | undefined;
  committed: JobState | undefined;
  /** The batch that holds the head's record; undefined = it is durable. */
  batch: Batch<Transition> | undefined;
  /** Journal sequence of the committed record. */
  sequence: number;
  /** The store has a row of it on disk. */
  stored: boolean;
  /** Newest progress report of the current lease; not journalled. */
  progress: JobProgress | undefined;
}

/** What a journal record stands for while it is on its way. */
export interface Transition {
  readonly entry: Entry;
  readonly state: JobState | undefined;
  readonly effects: readonly Effect[];
}

export type Outcome =
  | { readonly accepted: true; readonly state: JobState | undefined; readonly entry: Entry }
  | { readonly accepted: false; readonly rejection: Rejection; readonly entry: Entry | undefined };

/** The store, or what stands in for it. */
export type Store = Pick<JobStore, keyof JobStore>;

/** Called as soon as a transition is decided, before it is durable. */
export type OnDecided = (before: JobState | undefined, after: JobState | undefined, entry: Entry) => void;

export class JobTable {
  readonly store: Store;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #requests = new Map<string, string>();
  #journal: Journal<Transition> | undefined;
  #onDecided: OnDecided = () => undefined;
  #lastTimeMs = 0;
  #active = 0;

  /** @param options lastAtMs: Unix ms of the newest decision so far */
  constructor(options: { readonly store: Store; readonly clock: Clock; readonly lastAtMs: number }) {
    this.store = options.store;
    this.#clock = options.clock;
    this.#lastTimeMs = options.lastAtMs;
  }

  /** From here on transitions are decided here, and journalled. */
  lead(journal: Journal<Transition>, onDecided: OnDecided): void {
    journal.lastAtMs = this.#lastTimeMs;
    this.#journal = journal;
    this.#onDecided = onDecided;
  }

  /** Jobs in memory. */
  get size(): number {
    return this.#entries.size;
  }

  /** Jobs not ended, in head state. */
  get active(): number {
    return this.#active;
  }

  /** Its newest record is not on disk, or it is active. */
  isInMemory(jobId: string): boolean {
    return this.#entries.has(jobId);
  }

  /** The job is in memory and has not ended, in head state. */
  isActive(jobId: string): boolean {
    const head = this.#entries.get(jobId)?.head;
    return head !== undefined && !isTerminal(head.job.status);
  }

  entries(): IterableIterator<Entry> {
    return this.#entries.values();
  }

  /** The entry in memory; ended jobs are read from the store into a new one that is not kept. */
  find(jobId: string): Entry | undefined {
    const entry = this.#entries.get(jobId);
    if (entry) return entry;
    const stored = this.store.get(jobId);
    return stored && this.#entryOf(jobId, stored.state, stored.sequence);
  }

  /** Where the newest durable record of a job is; undefined = there is no such job. */
  sequenceOf(jobId: string): number | undefined {
    const entry = this.#entries.get(jobId);
    return entry ? entry.committed && entry.sequence : this.store.sequenceOf(jobId);
  }

  /** The job that a request id belongs to within its scope, in head state. */
  findRequest(scope: string, requestId: string): Entry | undefined {
    const key = scopedKey(scope, requestId);
    const jobId = this.#requests.get(key) ?? this.store.jobIdOfRequest(key);
    const entry = jobId === undefined ? undefined : this.find(jobId);
    return entry?.head ? entry : undefined;
  }

  /** Never earlier than the last record, so that times in the journal do not go back. */
  now(): Date {
    this.#lastTimeMs = Math.max(this.#clock.now(), this.#lastTimeMs);
    return new Date(this.#lastTimeMs);
  }

  /** Decides a command on the head state and, if it is accepted, sends its record on its way. */
  transition(jobId: string, command: Command): Outcome {
    return this.#transition(jobId, this.find(jobId), command);
  }

  /** A new job, or the one that has this id already: a repeat of the same call. */
  submit(submission: Submission): Entry {
    const found = this.find(submission.jobId);
    if (found?.head) return found;
    const outcome = this.#transition(submission.jobId, found, { kind: "submit", submission });
    return outcome.entry as Entry;
  }

  #transition(jobId: string, found: Entry | undefined, command: Command): Outcome {
    const now = this.now();
    const decision = decide(found?.head, command, now);
    if (!decision.accepted) return { accepted: false, rejection: decision.rejection, entry: found };
    const entry = found ?? this.#entryOf(jobId, undefined, 0);
    this.#append(entry, decision.event, decision.state, decision.effects, now);
    return { accepted: true, state: decision.state, entry };
  }

  /** Writes the newest record of a job again, so that the old one may be purged. */
  reappend(jobId: string): void {
    const entry = this.find(jobId);
    if (!entry?.head || entry.head !== entry.committed) return;
    this.#append(entry, "", entry.head, [], this.now());
  }

  /** Takes up a record of the journal on the way to leadership. */
  replay(record: JournalRecord, sequence: number, bytes: Uint8Array): void {
    const entry = this.find(record.jobId) ?? this.#entryOf(record.jobId, undefined, 0);
    this.#entries.set(entry.jobId, entry);
    const state = record.state ? stateOf(record) : undefined;
    this.#lastTimeMs = Math.max(this.#lastTimeMs, record.at?.getTime() ?? 0);
    this.#setHead(entry, state);
    this.#commit(entry, state, sequence, bytes);
  }

  /** Loads a job that is active in the store. */
  load(jobId: string): void {
    const entry = this.find(jobId);
    if (!entry?.head) return;
    this.#entries.set(jobId, entry);
    this.#index(undefined, entry.head);
  }

  /** The journal has acknowledged a batch. Returns what has to be done outside now. */
  committed(batch: Batch<Transition>, sequence: number): Effect[] {
    const effects: Effect[] = [];
    for (const { bytes, subject } of batch.records) {
      const { entry, state } = subject;
      if (entry.batch === batch) entry.batch = undefined;
      this.#commit(entry, state, sequence, bytes);
      for (const effect of subject.effects) effects.push(effect);
    }
    return effects;
  }

  /** Lets go of jobs that ended and whose newest record the store has flushed. */
  evict(flushed: Iterable<string>): void {
    for (const jobId of flushed) {
      const entry = this.#entries.get(jobId);
      if (!entry?.head || entry.head !== entry.committed || isActive(entry.head)) continue;
      this.#entries.delete(jobId);
      const requestKey = requestKeyOf(entry.head);
      if (requestKey !== undefined) this.#requests.delete(requestKey);
    }
  }

  /** The job as clients may see it: the committed state with the newest progress. */
  visible(entry: Entry): Job | undefined {
    const { committed, progress } = entry;
    if (!committed || !progress || committed.lease === 0n) return committed?.job;
    return { ...committed.job, progress };
  }

  #append(
    entry: Entry,
    event: string,
    state: JobState | undefined,
    effects: readonly Effect[],
    at: Date,
  ): void {
    if (!this.#journal) throw new ArrwError("UNAVAILABLE", "this scheduler does not lead");
    const revision = state?.job.revision ?? (entry.head?.job.revision ?? 0n) + 1n;
    const deletedJob = state ? undefined : remainderOf(entry.head?.job, revision);
    const bytes = encodeRecord({ jobId: entry.jobId, revision, event, at, state, deletedJob });
    if (bytes.length > MAX_RECORD_BYTES && event === "job.submitted") {
      throw new ArrwError(
        "INVALID_ARGUMENT",
        `the job is too large: ${bytes.length} bytes without its documents, at most ${MAX_RECORD_BYTES}`,
      );
    }
    const before = entry.head;
    this.#journal.lastAtMs = at.getTime();
    this.#entries.set(entry.jobId, entry);
    this.#setHead(entry, state);
    entry.batch = this.#journal.append({ bytes, subject: { entry, state, effects } });
    this.#onDecided(before, state, entry);
  }

  #setHead(entry: Entry, state: JobState | undefined): void {
    this.#index(entry.head, state);
    if (entry.head?.lease !== state?.lease) entry.progress = undefined;
    entry.head = state;
  }

  #index(before: JobState | undefined, after: JobState | undefined): void {
    this.#active +=
      Number(after !== undefined && isActive(after)) - Number(before !== undefined && isActive(before));
    const requestKey = after && requestKeyOf(after);
    const keyBefore = before && requestKeyOf(before);
    if (after && requestKey !== undefined) this.#requests.set(requestKey, after.job.jobId);
    else if (keyBefore !== undefined) this.#requests.delete(keyBefore);
  }

  #commit(entry: Entry, state: JobState | undefined, sequence: number, bytes: Uint8Array): void {
    this.store.counts.move(entry.committed, state);
    entry.committed = state;
    entry.sequence = sequence;
    this.store.write(entry.jobId, { sequence, bytes: state && bytes, state, presence: entry });
    if (!state && !entry.head) this.#entries.delete(entry.jobId);
  }

  #entryOf(jobId: string, state: JobState | undefined, sequence: number): Entry {
    return {
      jobId,
      head: state,
      committed: state,
      batch: undefined,
      sequence,
      stored: state !== undefined,
      progress: undefined,
    };
  }
}

/** What a tombstone says of its job. */
function remainderOf(job: Job | undefined, revision: bigint): Job | undefined {
  if (!job) return undefined;
  const { jobId, type, status, libraryId, libraryIds, labels, createdAt } = job;
  return JobMessage.fromPartial({
    jobId,
    type,
    status,
    libraryId,
    libraryIds,
    labels,
    createdAt,
    revision,
  });
}
