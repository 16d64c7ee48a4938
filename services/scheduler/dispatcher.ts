import TinyQueue from "tinyqueue";
import type { Clock } from "../../platform/clock.ts";
import { encode } from "../../platform/encode.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { Assignment, Cancellation, type LeaseGrant } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";
import { Concurrency } from "./concurrency.ts";
import type { Effect } from "./domain/commands.ts";
import { type JobState, PENDING, RUNNING } from "./domain/state.ts";
import type { Entry, JobTable } from "./jobs.ts";
import { PendingQueue } from "./pending-queue.ts";
import type { Queues } from "./queues.ts";
import type { FreeWorker, Lease, Worker, Workers } from "./workers.ts";

export interface DispatcherOptions {
  readonly nats: Pick<Nats, "publish">;
  readonly clock: Clock;
  readonly table: JobTable;
  readonly workers: Workers;
  readonly queues: Queues;
  readonly epoch: number;
  /** The next lease number; the journal's batches carry the highest one. */
  readonly nextLease: () => bigint;
  /** False once another scheduler may lead: nothing is sent any more. */
  readonly maySend: () => boolean;
}

const MAX_ASSIGNMENT_BYTES = 512 * 1024;

/** Grants leases to workers with free slots, and pushes to them what is durable. */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #queue = new PendingQueue();
  readonly #concurrency = new Concurrency((entry) => {
    this.#queue.push(entry);
    this.#admitted = true;
  });
  /** A job that stood in line has become ready since it was last looked. */
  #admitted = false;
  /** Leases of each type, in head state. */
  readonly #running = new Map<string, number>();

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  /** Follows every decided transition: what is ready queues, what is leased takes a slot. */
  onDecided(before: JobState | undefined, after: JobState | undefined, entry: Entry): void {
    const { workers, clock } = this.#options;
    if (before && before.lease !== 0n && before.lease !== after?.lease) {
      workers.ended(before.job.workerId, before.lease);
      this.#count(before.job.type, -1);
    }
    const status = after?.job.status;
    if (status !== PENDING && status !== RUNNING) this.#concurrency.leave(entry.jobId);
    if (!after) return;
    if (status === PENDING && before?.job.status !== PENDING && this.#concurrency.admit(entry)) {
      this.#queue.push(entry);
    }
    if (status === RUNNING && before?.lease !== after.lease) {
      workers.granted(after.job.workerId, after.lease, entry.jobId, clock.monotonic());
      this.#count(after.job.type, 1);
      this.#concurrency.started(entry.jobId);
    }
  }

  /** Takes up a job that a takeover found; those that run come first. */
  restore(entry: Entry): void {
    const state = entry.head;
    if (state?.job.status === RUNNING) this.#concurrency.hold(entry);
    this.onDecided(undefined, state, entry);
    // The leader before may have died before it sent the lease: it is sent again unless a heartbeat lists it.
    const lease = state && this.#options.workers.get(state.job.workerId)?.leases.get(state.lease);
    if (lease) lease.sentAtMs = this.#options.clock.monotonic();
  }

  /** Grants as long as a type has both a job that is ready and a free slot. */
  run(): void {
    do {
      this.#admitted = false;
      for (const type of this.#queue.readyTypes()) this.#grantType(type);
      // A job that starts may let one of another type go.
    } while (this.#admitted);
  }

  /** Each job goes to the worker that has the most free slots then. */
  #grantType(type: string): void {
    const { table, workers, queues, nextLease } = this.#options;
    if (queues.isPaused(type)) return;
    let left = queues.maxRunning(type) - (this.#running.get(type) ?? 0);
    const free = new TinyQueue<FreeWorker>(workers.free(type), (a, b) => b.slots - a.slots);
    for (let worker = free.peek(); worker && left > 0; worker = free.peek()) {
      const entry = this.#queue.shift(type);
      if (!entry) return;
      const { workerId } = worker;
      const granted = table.transition(entry.jobId, { kind: "grant", lease: nextLease(), workerId });
      if (!granted.accepted) continue;
      left -= 1;
      worker.slots -= 1;
      free.pop();
      if (worker.slots > 0) free.push(worker);
    }
  }

  /** Why a job that is PENDING does not start, for people; "" = it is about to. */
  waitingFor(state: JobState): string {
    const { queues, workers } = this.#options;
    const { jobId, type } = state.job;
    const limit = this.#concurrency.waitingFor(jobId);
    if (limit !== undefined) return limit;
    if (queues.allPaused) return "all queues are paused";
    if (queues.isPaused(type)) return `the queue ${type} is paused`;
    const running = this.#running.get(type) ?? 0;
    if (running >= queues.maxRunning(type))
      return `jobs of type ${type}: ${running} running, at most that many may`;
    if (![...workers].some((worker) => worker.types.has(type))) return `no worker runs jobs of type ${type}`;
    return workers.free(type).length === 0 ? "a free slot" : "";
  }

  #count(type: string, delta: number): void {
    this.#running.set(type, (this.#running.get(type) ?? 0) + delta);
  }

  /** The oldest job of a type that waits for a slot, of those that are wanted. */
  oldestPending(type: string, isWanted?: (state: JobState) => boolean): JobState | undefined {
    return (isWanted ? this.#queue.find(type, isWanted) : this.#queue.peek(type))?.head;
  }

  /** Sends what has become durable: one message per worker. */
  send(effects: readonly Effect[]): void {
    const grants = new Map<string, LeaseGrant[]>();
    const cancels = new Map<string, bigint[]>();
    for (const effect of effects) {
      if (effect.kind === "assign") gather(grants, effect.workerId, grantOf(effect.state));
      else if (effect.kind === "cancelLease") gather(cancels, effect.workerId, effect.lease);
    }
    for (const [workerId, leases] of grants) this.assign(workerId, leases);
    for (const [workerId, leases] of cancels) this.cancel(workerId, leases);
  }

  assign(workerId: string, leases: readonly LeaseGrant[]): void {
    const { nats, epoch, maySend, workers, clock } = this.#options;
    const now = clock.monotonic();
    const worker = workers.get(workerId);
    for (const { lease } of leases) {
      const held = worker?.leases.get(lease);
      if (held) held.sentAtMs = now;
    }
    // What may not be sent now counts as sent and lost: it is sent again when leading is certain again.
    if (!maySend()) return;
    for (const part of inParts(leases)) {
      const message = encode(Assignment, { epoch: BigInt(epoch), leases: part });
      nats.publish(Subject.assignments(workerId), message);
    }
  }

  cancel(workerId: string, leases: readonly bigint[]): void {
    const { nats, epoch, maySend } = this.#options;
    if (!maySend()) return;
    const message = encode(Cancellation, { epoch: BigInt(epoch), leases: [...leases] });
    nats.publish(Subject.cancellations(workerId), message);
  }

  /** Sends leases again that never arrived. */
  resend(worker: Worker, leases: readonly Lease[]): void {
    const { table } = this.#options;
    const grants = leases.flatMap(({ jobId, lease }) => {
      const state = table.find(jobId)?.committed;
      return state?.lease === lease ? [grantOf(state)] : [];
    });
    if (grants.length > 0) this.assign(worker.workerId, grants);
  }
}

function gather<T>(map: Map<string, T[]>, key: string, value: T): void {
  const values = map.get(key);
  if (values) values.push(value);
  else map.set(key, [value]);
}

/** A record is at most 64 KB, and so is a grant: 8 always fit; small ones go by the hundred. */
function* inParts(leases: readonly LeaseGrant[]): Generator<LeaseGrant[]> {
  let part: LeaseGrant[] = [];
  let bytes = 0;
  for (const grant of leases) {
    const size = 256 + grant.checkpoint.length + grant.jobId.length + specBytes(grant);
    if (bytes + size > MAX_ASSIGNMENT_BYTES && part.length > 0) {
      yield part;
      part = [];
      bytes = 0;
    }
    part.push(grant);
    bytes += size;
  }
  if (part.length > 0) yield part;
}

/** Echo is the one spec of small jobs by the thousand; others may take up to a record's bound. */
function specBytes(grant: LeaseGrant): number {
  const spec = grant.spec?.spec;
  return spec?.$case === "echo" ? spec.value.message.length * 3 : 64 * 1024;
}

function grantOf(state: JobState): LeaseGrant {
  const { job } = state;
  return {
    lease: state.lease,
    jobId: job.jobId,
    type: job.type,
    libraryId: job.libraryId,
    spec: job.spec,
    attempt: job.attempt,
    payloadObject: state.payloadObject,
    itemCount: job.itemCount,
    checkpoint: state.checkpoint,
    executionTimeout: job.executionTimeout,
    grantedAt: job.startedAt,
    progress: job.progress,
    totalTimeout: remaining(state),
    leasesBefore: state.leasesGranted - 1,
    createdAt: job.createdAt,
    run: state.retried + 1,
    failedItemsOnly: state.failedItemsOnly,
    libraryIds: job.libraryIds,
  };
}

/** From the grant to the end of the total timeout; such a lease is never granted after it. */
function remaining({ deadline, job }: JobState): Duration | undefined {
  if (!deadline || !job.startedAt) return undefined;
  const ms = deadline.getTime() - job.startedAt.getTime();
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}
