import { setImmediate as nextTurn } from "node:timers/promises";
import { unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Effect } from "./domain/commands.ts";
import { isTerminal, type JobState, SCHEDULED } from "./domain/state.ts";
import { type CloseFence, Fences } from "./fences.ts";
import { Heartbeats } from "./heartbeats.ts";
import { Janitor } from "./janitor.ts";
import { type Entry, JobTable, type Transition } from "./jobs.ts";
import { Journal } from "./journal.ts";
import type { SchedulerMetrics } from "./metrics.ts";
import { OutcomeReader } from "./outcomes.ts";
import { ProgressRelay } from "./progress-relay.ts";
import { Retention, type RetentionLimits } from "./retention.ts";
import { appendEpoch, flushStore, openStore, type Position } from "./takeover.ts";
import { Timers } from "./timers.ts";
import { Workers } from "./workers.ts";

export interface TermOptions {
  readonly nats: Nats;
  readonly objects: ObjectStore;
  readonly log: Logger;
  readonly metrics: SchedulerMetrics;
  /** Folder of the local store. */
  readonly storePath: string;
  readonly address: string;
  readonly leaseTimeoutMs: number;
  readonly maxActiveJobs: number;
  readonly limits: RetentionLimits;
  readonly closeFence: CloseFence;
  /** False once another scheduler may lead. */
  readonly maySend: () => boolean;
  /** The term ended by itself: an append failed. */
  readonly onLost: (error: Error) => void;
}

/** Short jobs end within this and are then written once; a restart reads that much of the journal again. */
const FLUSH_MS = 5_000;
/** So many rows are flushed at once: what waits is in memory. */
const FLUSH_ROWS = 50_000;
const FLUSH_CHECK_MS = 500;

/**
 * One leadership: all that is in memory, from the takeover to the first append that fails. A term that ended is
 * thrown away whole; the next one starts from the journal.
 */
export class Term {
  readonly table: JobTable;
  readonly dispatcher: Dispatcher;
  readonly workers = new Workers();
  readonly retention: Retention;
  readonly epoch: number;
  readonly #options: TermOptions;
  readonly #position: Position;
  readonly #journal: Journal<Transition>;
  readonly #outcomes: OutcomeReader;
  readonly #heartbeats: Heartbeats;
  readonly #progress: ProgressRelay;
  readonly #timers: Timers;
  readonly #fences: Fences;
  readonly #janitor: Janitor;
  #flushTimer: NodeJS.Timeout | undefined;
  #flushing: Promise<unknown> = Promise.resolve();
  #outcomesThrough: number;
  #ended = false;

  /** Takes over: follows the journal, appends the EPOCH batch, starts all loops. @throws when that fails */
  static async begin(options: TermOptions): Promise<Term> {
    const { nats, log, storePath, address } = options;
    const startedAt = performance.now();
    const info = await nats.streamInfo(Stream.journal);
    const { store, position } = await openStore(storePath, nats, info, log);
    let term: Term | undefined;
    try {
      const table = new JobTable({
        store,
        onDecided: (before, after, entry) => term?.onDecided(before, after, entry),
      });
      for (const jobId of store.activeJobIds()) table.load(jobId);
      const epoch = await appendEpoch(nats, table, position, address);
      await flushStore(table, position);
      term = new Term(options, table, position, epoch);
      await term.#start();
      const ms = Math.round(performance.now() - startedAt);
      log.info({ epoch, active_jobs: table.active, ms }, "leading");
      return term;
    } catch (error) {
      // A term that began has loops that would go on writing.
      await (term ? term.stop() : store.close());
      throw error;
    }
  }

  constructor(options: TermOptions, table: JobTable, position: Position, epoch: number) {
    const { nats, log, maySend, leaseTimeoutMs, metrics } = options;
    this.#options = options;
    this.table = table;
    this.epoch = epoch;
    this.#position = position;
    this.#outcomesThrough = position.outcomesThrough;
    const journal = new Journal<Transition>({
      nats,
      epoch,
      outcomesThrough: position.outcomesThrough,
      lastLease: position.lastLease,
      onCommitted: (batch, sequence, bytes) => {
        this.#position.sequence = sequence;
        this.#position.bytes = bytes;
        this.#outcomesThrough = batch.outcomesThrough;
        this.retention.appended(bytes.length);
        this.#perform(table.committed(batch, sequence));
      },
      onLost: (error) => options.onLost(error),
      onAppended: (records, bytes, seconds) => metrics.appended(records, bytes, seconds),
    });
    this.#journal = journal;
    table.lead(journal);
    const { workers } = this;
    const nextLease = (): bigint => {
      journal.lastLease += 1n;
      return journal.lastLease;
    };
    this.dispatcher = new Dispatcher({ nats, table, workers, epoch, nextLease, maySend });
    const { dispatcher } = this;
    this.#outcomes = new OutcomeReader({
      nats,
      log,
      after: position.outcomesThrough,
      random: Math.random,
      onCommands: (commands, sequence) => {
        for (const { jobId, command } of commands) {
          const outcome = table.transition(jobId, command);
          metrics.outcome(command.kind, outcome.accepted);
        }
        journal.outcomesThrough = sequence;
        dispatcher.run();
      },
    });
    const onLost = (): void => metrics.workerLost();
    const heartbeats = {
      nats,
      log,
      table,
      workers,
      dispatcher,
      outcomes: this.#outcomes,
      epoch,
      leaseTimeoutMs,
    };
    this.#heartbeats = new Heartbeats({ ...heartbeats, maySend, onLost });
    this.#progress = new ProgressRelay({ nats, table, maySend });
    this.#timers = new Timers((jobIds) => {
      for (const jobId of jobIds) this.#due(jobId);
      dispatcher.run();
    });
    this.#fences = new Fences(log, options.closeFence, (jobId, lease) => {
      table.transition(jobId, { kind: "fenceClosed", lease });
    });
    this.#janitor = new Janitor({
      nats,
      objects: options.objects,
      log,
      isJob: (jobId) => table.find(jobId)?.head !== undefined,
    });
    this.retention = new Retention({
      nats,
      log,
      table,
      limits: options.limits,
      settled: () => journal.settled(),
      flush: () => this.flush(),
      outcomesThrough: () => this.#outcomesThrough,
    });
  }

  /** Follows every decided transition. */
  onDecided(before: JobState | undefined, after: JobState | undefined, entry: Entry): void {
    this.dispatcher.onDecided(before, after, entry);
    if (after?.job.status === SCHEDULED && after.job.runAt) this.#timers.add(entry.jobId, after.job.runAt);
    if (after && before) this.#options.metrics.transition(before.job, after.job);
  }

  /** Writes everything durable to the store. @returns the sequence that it goes through */
  async flush(): Promise<number> {
    if (this.#ended) return 0;
    const flushing = flushStore(this.table, this.#position);
    this.#flushing = flushing;
    return await flushing;
  }

  /** Ends the term: who waits for a transition gets UNAVAILABLE and may repeat the call. */
  async stop(
    error: Error = unavailable("the scheduler stopped leading", { retryAfterMs: 500 }),
  ): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#flushTimer);
    this.#timers.stop();
    this.#fences.stop();
    this.#janitor.stop();
    this.#progress.stop();
    this.#journal.fail(unavailable("the scheduler stopped leading", { cause: error, retryAfterMs: 500 }));
    await Promise.all([this.retention.stop(), this.#heartbeats.stop(), this.#outcomes.stop()]);
    await this.#flushing.catch(() => undefined);
    await this.table.store.close();
  }

  /** A graceful end: what is on its way is waited for. */
  async drain(): Promise<void> {
    this.#timers.stop();
    await this.#heartbeats.stop();
    await this.#outcomes.stop();
    await this.#journal.settled().catch(() => undefined);
    await this.flush().catch(() => undefined);
    await this.stop();
  }

  async #start(): Promise<void> {
    const { dispatcher, table } = this;
    const waiting = [...table.entries()].sort((a, b) => readyAt(a) - readyAt(b));
    for (const entry of waiting) {
      dispatcher.restore(entry);
      const state = entry.head;
      if (!state) continue;
      const { job, fencePending } = state;
      if (job.status === SCHEDULED && job.runAt) this.#timers.add(entry.jobId, job.runAt);
      if (fencePending !== 0n) this.#fences.add(job.libraryId, entry.jobId, fencePending);
    }
    // Room first: what is taken up below is appended.
    await this.retention.makeRoom();
    await this.#outcomes.start();
    // Workers may hold leases that ended meanwhile: what they reported is taken up before anything is sent.
    await this.#outcomes.readToEnd();
    this.#heartbeats.start();
    this.#progress.start();
    this.retention.start();
    this.#janitor.start();
    this.#armFlush();
    dispatcher.run();
  }

  #due(jobId: string): void {
    const { table } = this;
    const outcome = table.transition(jobId, { kind: "due" });
    const runAt = outcome.entry?.head?.job.runAt;
    // The clock went back, or the heap held an older time.
    if (!outcome.accepted && outcome.rejection === "NOT_DUE" && runAt) this.#timers.add(jobId, runAt);
  }

  /** What has become durable is carried out. */
  #perform(effects: readonly Effect[]): void {
    if (effects.length === 0) return;
    this.dispatcher.send(effects);
    for (const effect of effects) {
      if (effect.kind === "closeFence") this.#fences.add(effect.libraryId, effect.jobId, effect.lease);
      else if (effect.kind === "removePayload") this.#janitor.remove(effect.objectId);
    }
  }

  #armFlush(waitedMs = 0): void {
    this.#flushTimer = setTimeout(() => {
      const due = waitedMs + FLUSH_CHECK_MS >= FLUSH_MS || this.table.store.dirtyRows >= FLUSH_ROWS;
      if (!due) return this.#armFlush(waitedMs + FLUSH_CHECK_MS);
      this.flush()
        .then(() => nextTurn())
        .catch((error: Error) => {
          this.#options.log.error({ err: error }, "writing the local store failed");
          if (!this.#ended) this.#options.onLost(error);
        })
        .finally(() => {
          if (!this.#ended) this.#armFlush();
        });
    }, FLUSH_CHECK_MS);
  }
}

function readyAt(entry: Entry): number {
  const job = entry.head?.job;
  return job && !isTerminal(job.status) ? (job.runAt?.getTime() ?? 0) : 0;
}
