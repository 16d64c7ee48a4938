import { hostname } from "node:os";
import { v7 as uuidv7 } from "uuid";
import { once, type Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Gauge, type Registry } from "../../platform/metrics.ts";
import type { NatsAccess } from "../../platform/nats/access.ts";
import type { BusSubscription, Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { VERSION } from "../../platform/version.ts";
import type { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import {
  Assignment,
  Cancellation,
  Heartbeat as HeartbeatMessage,
  HeartbeatReply,
  type LeaseGrant,
} from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { Attempt, type AttemptServices } from "./attempt.ts";
import { AttemptMetrics } from "./attempt-metrics.ts";
import { Deadlines } from "./deadlines.ts";
import type { LogLevel } from "./domain/log-line.ts";
import { Fences } from "./fences.ts";
import { Heartbeat } from "./heartbeat.ts";
import { JobLogs } from "./job-logs.ts";
import { Leases } from "./leases.ts";
import { Outcomes } from "./outcomes.ts";
import { Progress } from "./progress.ts";
import type { HandlerRegistry } from "./registry.ts";

export interface WorkerOptions {
  readonly natsAccess: NatsAccess;
  readonly logLevel: string;
  /** Lines that handlers log below it are not kept. Default info. */
  readonly jobLogLevel?: LogLevel;
  readonly slots: number;
  readonly drainTimeoutMs: number;
  readonly cancelGraceMs: number;
  readonly nats: Nats;
  readonly index: IndexServiceClient;
  readonly handlers: HandlerRegistry;
  readonly log: Logger;
  readonly registry: Registry;
  /** The heartbeat thread has died; the process can't go on. */
  readonly onDied: (error: Error) => void;
}

/** Time a handler has to stop once the drain time is over. */
const DRAIN_GRACE_MS = 1_000;
const FLUSH_TIMEOUT_MS = 5_000;
const LOGS_FLUSH_TIMEOUT_MS = 500;
/** So many ended leases are announced at once: their confirmation keeps heartbeats small. */
const ANNOUNCE_FINISHED = 2_000;
const REPLY_MAX_AGE_MS = 10_000;

/**
 * Runs what the scheduler assigns. It refuses nothing: the scheduler counts slots. An assignment that was ever
 * accepted, and everything of an epoch below the highest seen, is ignored.
 */
export class Worker implements Part {
  readonly name = "worker";
  /** New with every process start, so that a restarted worker is another one. */
  readonly workerId = uuidv7();
  readonly #options: WorkerOptions;
  readonly #log: Logger;
  readonly #leases = new Leases();
  readonly #deadlines = new Deadlines();
  readonly #outcomes: Outcomes;
  readonly #progress: Progress;
  readonly #logs: JobLogs;
  readonly #heartbeat: Heartbeat;
  readonly #services: AttemptServices;
  readonly #startedAt = new Date();
  #subscriptions: BusSubscription[] = [];
  #epoch = 0n;
  #draining = false;

  constructor(options: WorkerOptions) {
    const { workerId } = this;
    const { nats, registry, natsAccess, logLevel, onDied } = options;
    this.#options = options;
    this.#log = options.log.child({ worker_id: workerId });
    this.#outcomes = new Outcomes({ nats, workerId, log: this.#log, registry });
    this.#progress = new Progress(nats, workerId);
    this.#logs = new JobLogs({ nats, log: this.#log, registry });
    this.#heartbeat = new Heartbeat({
      natsAccess,
      logLevel,
      workerId,
      registry,
      encode: () => this.#encodeHeartbeat(),
      onReply: (reply) => this.#onReply(reply),
      onCutOff: () => this.#leases.stopAll("cut off"),
      onDied,
    });
    this.#services = this.#attemptServices();
    this.#addGauges();
  }

  /** Why jobs can't be run now; undefined = they can. */
  unready(): string | undefined {
    const ageMs = this.#heartbeat.replyAgeMs;
    if (ageMs < REPLY_MAX_AGE_MS) return undefined;
    return Number.isFinite(ageMs)
      ? `the scheduler has not answered for ${Math.round(ageMs / 1000)} s`
      : "the scheduler has not answered yet";
  }

  async start(): Promise<void> {
    const { nats } = this.#options;
    await this.#outcomes.start();
    await this.#logs.start();
    this.#subscriptions = [
      nats.subscribe(Subject.assignments(this.workerId), ({ data }) => this.#onAssignment(data)),
      nats.subscribe(Subject.cancellations(this.workerId), ({ data }) => this.#onCancellation(data)),
    ];
    // The first heartbeat brings assignments: the subscriptions must have reached the server by then.
    await nats.flush();
    await this.#heartbeat.start();
    const { slots, handlers } = this.#options;
    this.#log.info({ slots, types: handlers.types }, "worker announced");
  }

  /** Lets handlers finish, gives back what doesn't, stores all outcomes. */
  readonly stop = once(async () => {
    this.#draining = true;
    this.#heartbeat.beat();
    const { drainTimeoutMs } = this.#options;
    if (!(await within(this.#leases.idle(), drainTimeoutMs))) {
      this.#log.info({ leases: this.#leases.running }, "handlers are stopped; their leases are given back");
      this.#leases.stopAll("drain");
      await this.#leases.idle();
    }
    if (!(await this.#outcomes.flush(FLUSH_TIMEOUT_MS))) {
      this.#log.warn("some outcomes could not be stored: their leases will count as lost");
    }
    await this.#logs.flush(LOGS_FLUSH_TIMEOUT_MS);
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
    await this.#heartbeat.stop();
    await this.#progress.stop();
    await this.#logs.stop();
    await this.#outcomes.stop();
    this.#deadlines.stop();
  });

  #attemptServices(): AttemptServices {
    const { index, registry, cancelGraceMs, jobLogLevel } = this.#options;
    return {
      outcomes: this.#outcomes,
      progress: this.#progress,
      fences: new Fences(index, this.#log),
      deadlines: this.#deadlines,
      metrics: new AttemptMetrics(registry),
      log: this.#log,
      logs: this.#logs,
      logLevel: jobLogLevel ?? "info",
      graceMs: {
        cancel: cancelGraceMs,
        timeout: cancelGraceMs,
        "cut off": cancelGraceMs,
        drain: DRAIN_GRACE_MS,
      },
      onEnded: (lease) => this.#leases.ended(lease),
      onStored: (lease) => {
        this.#leases.stored(lease);
        if (this.#leases.finished >= ANNOUNCE_FINISHED) this.#heartbeat.beat();
      },
    };
  }

  #onAssignment(data: Uint8Array): void {
    const { epoch, leases } = Assignment.decode(data);
    if (!this.#isCurrent(epoch)) return;
    for (const grant of leases) if (this.#leases.accept(grant)) this.#run(grant);
  }

  #run(grant: LeaseGrant): void {
    const attempt = new Attempt(grant, this.#options.handlers.get(grant.type), this.#services);
    this.#leases.started(grant.lease, attempt);
    // Sent before the scheduler knew that this worker drains: given back at once, for another worker.
    if (this.#draining) attempt.stop("drain");
    attempt.start();
  }

  #onCancellation(data: Uint8Array): void {
    const { epoch, leases } = Cancellation.decode(data);
    if (!this.#isCurrent(epoch)) return;
    for (const lease of leases) this.#leases.stop(lease, "cancel");
  }

  #onReply(data: Uint8Array): void {
    const { epoch, cancel, ended, drain } = HeartbeatReply.decode(data);
    if (!this.#isCurrent(epoch)) return;
    if (drain && !this.#draining) {
      this.#draining = true;
      const summary = { leases: this.#leases.running };
      this.#log.info(summary, "draining on an operator's request: no new leases, those held go on");
      this.#heartbeat.beat();
    }
    for (const lease of cancel) this.#leases.stop(lease, "cancel");
    for (const lease of ended) this.#leases.disown(lease);
  }

  /** A scheduler that was replaced may not have noticed yet. */
  #isCurrent(epoch: bigint): boolean {
    if (epoch < this.#epoch) return false;
    this.#epoch = epoch;
    return true;
  }

  #encodeHeartbeat(): Uint8Array {
    const { slots, handlers } = this.#options;
    return HeartbeatMessage.encode({
      workerId: this.workerId,
      host: hostname(),
      version: VERSION,
      slots,
      types: handlers.types,
      draining: this.#draining,
      held: this.#leases.list(),
      startedAt: this.#startedAt,
    }).finish();
  }

  #addGauges(): void {
    const { registry, slots } = this.#options;
    const leases = this.#leases;
    const registers = [registry];
    new Gauge({ name: "arrw_worker_slots", help: "Leases run side by side", registers }).set(slots);
    new Gauge({
      name: "arrw_worker_slots_used",
      help: "Leases whose handler runs",
      registers,
      collect(): void {
        this.set(leases.running);
      },
    });
  }
}

/** Whether the promise resolved within the time. */
async function within(promise: Promise<void>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
