import type { Clock } from "../../platform/clock.ts";
import { unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import { ObjectId } from "../../platform/nats/names.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";
import type { Bus } from "./bus.ts";
import { Dispatcher } from "./dispatcher.ts";
import type { Effect } from "./domain/commands.ts";
import { exportIsOver } from "./domain/exports.ts";
import { librariesOf } from "./domain/libraries.ts";
import { isTerminal, type JobState, RUNNING, SCHEDULED } from "./domain/state.ts";
import { type CloseFence, Fences } from "./fences.ts";
import { Heartbeats } from "./heartbeats.ts";
import { Janitor } from "./janitor.ts";
import type { Entry, JobTable, Transition } from "./jobs.ts";
import { Journal } from "./journal.ts";
import type { SchedulerMetrics } from "./metrics.ts";
import { OutcomeReader } from "./outcomes.ts";
import { ProgressRelay } from "./progress-relay.ts";
import type { Projection } from "./projection.ts";
import { Queues } from "./queues.ts";
import { Retention, type RetentionLimits } from "./retention.ts";
import { appendEpoch } from "./takeover.ts";
import { Timers } from "./timers.ts";
import { Workers } from "./workers.ts";

export interface TermOptions {
  readonly nats: Bus;
  readonly clock: Clock;
  /** Random number in [0, 1), for the jitter of retries. */
  readonly random: () => number;
  readonly objects: Pick<ObjectStore, "remove">;
  readonly log: Logger;
  readonly metrics: Pick<SchedulerMetrics, "appended" | "outcome" | "transition" | "workerLost">;
  readonly address: string;
  readonly leaseTimeoutMs: number;
  readonly limits: RetentionLimits;
  readonly closeFence: CloseFence;
  /** False once another scheduler may lead. */
  readonly maySend: () => boolean;
  /** The term ended by itself: an append failed. */
  readonly onLost: (error: Error) => void;
}

/**
 * One leadership: from the takeover to the first append that fails. A term that ended is thrown away with all that is in
 * memory; what follows starts from the journal.
 */
export class Term {
  readonly table: JobTable;
  readonly dispatcher: Dispatcher;
  readonly projection: Projection;
  readonly workers = new Workers();
  readonly queues: Queues;
  readonly retention: Retention;
  readonly epoch: number;
  readonly #options: TermOptions;
  readonly #journal: Journal<Transition>;
  readonly #outcomes: OutcomeReader;
  readonly #heartbeats: Heartbeats;
  readonly #progress: ProgressRelay;
  readonly #timers: Timers;
  readonly #fences: Fences;
  readonly #janitor: Janitor;
  #ended = false;

  /**
   * Takes over from what a standby has read: appends the EPOCH batch, starts all loops.
   * @throws when that fails; the projection is closed then
   */
  static async begin(options: TermOptions, projection: Projection): Promise<Term> {
    const { nats, clock, log, address } = options;
    const startedAtMs = clock.monotonic();
    let term: Term | undefined;
    try {
      const epoch = await appendEpoch(nats, projection, address, log);
      term = new Term(options, projection, epoch);
      await term.#start();
      const ms = Math.round(clock.monotonic() - startedAtMs);
      log.info({ epoch, active_jobs: projection.table.active, ms }, "leading");
      return term;
    } catch (error) {
      // A term that began has loops that would go on writing.
      await (term ? term.stop() : projection.close());
      throw error;
    }
  }

  constructor(options: TermOptions, projection: Projection, epoch: number) {
    const { nats, clock, log, maySend, leaseTimeoutMs, metrics } = options;
    const { table, position } = projection;
    this.#options = options;
    this.projection = projection;
    this.table = table;
    this.epoch = epoch;
    this.queues = new Queues(position.queues);
    projection.start((error) => options.onLost(error));
    const journal = new Journal<Transition>({
      nats,
      clock,
      epoch,
      outcomesThrough: position.outcomesThrough,
      lastLease: position.lastLease,
      queues: this.queues,
      onCommitted: (batch, sequence, bytes) => {
        const effects = projection.committed(batch, sequence, bytes);
        this.retention.appended(bytes.length);
        this.#perform(effects);
      },
      onLost: (error) => options.onLost(error),
      onAppended: (records, bytes, seconds) => metrics.appended(records, bytes, seconds),
    });
    this.#journal = journal;
    table.lead(journal, (before, after, entry) => this.#onDecided(before, after, entry));
    const { workers } = this;
    const nextLease = (): bigint => {
      journal.lastLease += 1n;
      return journal.lastLease;
    };
    const { queues } = this;
    this.dispatcher = new Dispatcher({ nats, clock, table, workers, queues, epoch, nextLease, maySend });
    const { dispatcher } = this;
    this.#outcomes = new OutcomeReader({
      nats,
      clock,
      log,
      after: position.outcomesThrough,
      random: options.random,
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
      clock,
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
    this.#timers = new Timers(
      clock,
      (jobIds) => {
        for (const jobId of jobIds) this.#due(jobId);
        dispatcher.run();
      },
      (jobId) => table.isActive(jobId),
    );
    this.#fences = new Fences(clock, log, options.closeFence, (jobId, lease) => {
      table.transition(jobId, { kind: "fenceClosed", lease });
    });
    this.#janitor = new Janitor({
      nats,
      clock,
      objects: options.objects,
      log,
      isJob: (jobId) => table.sequenceOf(jobId) !== undefined,
      exportIsOver: (jobId, nowMs) => {
        const job = table.find(jobId)?.committed?.job;
        return job !== undefined && exportIsOver(job, nowMs);
      },
      maySend,
    });
    this.retention = new Retention({
      nats,
      clock,
      log,
      table,
      limits: options.limits,
      settled: () => journal.settled(),
      flush: () => projection.flush(),
      outcomesThrough: () => position.outcomesThrough,
    });
  }

  /** Bytes of what was decided and is not durable yet. */
  get backlogBytes(): number {
    return this.#journal.backlogBytes;
  }

  /** Makes the queues as they are now durable. */
  async storeQueues(): Promise<void> {
    await this.#journal.touch().done;
  }

  #onDecided(before: JobState | undefined, after: JobState | undefined, entry: Entry): void {
    this.dispatcher.onDecided(before, after, entry);
    if (after) this.#setTimers(before, after);
    else this.#janitor.deleted(entry.jobId);
    if (after && before) this.#options.metrics.transition(before.job, after.job);
  }

  #setTimers(before: JobState | undefined, { job, deadline }: JobState): void {
    // A record that is written again, or a fence that is closed, changes no time.
    if (job.status === SCHEDULED && job.runAt && job !== before?.job) this.#timers.add(job.jobId, job.runAt);
    if (deadline && deadline !== before?.deadline) this.#timers.add(job.jobId, deadline);
  }

  /** Ends the term: who waits for a transition gets UNAVAILABLE and may repeat the call. */
  async stop(
    error: Error = unavailable("the scheduler stopped leading", { retryAfterMs: 500 }),
  ): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    this.#timers.stop();
    this.#fences.stop();
    this.#janitor.stop();
    this.#progress.stop();
    this.#journal.fail(unavailable("the scheduler stopped leading", { cause: error, retryAfterMs: 500 }));
    await Promise.all([this.retention.stop(), this.#heartbeats.stop(), this.#outcomes.stop()]);
    await this.projection.close();
  }

  /** Before a graceful end: nothing more is decided, and what is on its way is waited for. */
  async drain(): Promise<void> {
    this.#timers.stop();
    await this.#heartbeats.stop();
    await this.#outcomes.stop();
    await this.retention.stop();
    await this.#journal.settled().catch(() => undefined);
  }

  async #start(): Promise<void> {
    const { dispatcher, table } = this;
    const waiting = [...table.entries()].sort((a, b) => readyAt(a) - readyAt(b));
    for (const entry of waiting) {
      dispatcher.restore(entry);
      const state = entry.head;
      if (!state) continue;
      const { job, fencePending } = state;
      if (!isTerminal(job.status)) this.#setTimers(undefined, state);
      if (fencePending !== 0n) this.#fences.add(librariesOf(job), entry.jobId, fencePending);
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
    dispatcher.run();
  }

  #due(jobId: string): void {
    const { table } = this;
    if (!table.isActive(jobId)) return;
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
      if (effect.kind === "closeFence") this.#fences.add(effect.libraryIds, effect.jobId, effect.lease);
      else if (effect.kind === "removePayload") this.#janitor.remove(effect.objectId);
      else if (effect.kind === "removeItems") this.#janitor.remove(ObjectId.items(effect.jobId));
      else if (effect.kind === "removeExport") this.#janitor.remove(ObjectId.export(effect.jobId));
    }
  }
}

/** Jobs that run come first: they hold what others wait for. Then those that wait, the longest first. */
function readyAt(entry: Entry): number {
  const job = entry.head?.job;
  if (!job || isTerminal(job.status) || job.status === RUNNING) return 0;
  return job.runAt?.getTime() ?? 0;
}
