import { silentLog } from "../../../platform/log.ts";
import { type BusMessage, Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";
import type { Tail } from "../../../platform/nats/tail.ts";
import { EchoSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import {
  Assignment,
  Cancellation,
  Heartbeat,
  HeartbeatReply,
  LeaseGrant,
  type Outcome,
  OutcomeBatch,
  ProgressBatch,
  type ProgressReport,
} from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { eventually } from "../../support/eventually.ts";
import type { Cleanup } from "../../support/temp.ts";

/** The scheduler's side of the worker protocol: assigns what a test says, and records what the worker answers. */
export class FakeScheduler {
  readonly nats: Nats;
  readonly heartbeats: Heartbeat[] = [];
  readonly outcomes: Outcome[] = [];
  readonly batches: number[] = [];
  readonly progress: ProgressReport[] = [];
  epoch = 1n;
  /** Whether heartbeats are answered. */
  answers = true;
  /** Replies ask the worker to drain. */
  drains = false;
  /** Leases that replies name as ended although no outcome was seen. */
  readonly disowned = new Set<bigint>();
  readonly #ended = new Set<bigint>();
  #tail: Tail | undefined;
  #nextLease = 1n;

  constructor(url: string) {
    this.nats = new Nats({ url, name: "fake-scheduler", log: silentLog() });
  }

  static async start(t: Cleanup, url: string): Promise<FakeScheduler> {
    const scheduler = new FakeScheduler(url);
    await scheduler.nats.start();
    t.after(() => scheduler.stop());
    const bounds = { journalMaxBytes: 2 ** 24, objectsMaxBytes: 2 ** 28, replicas: 1 };
    await ensureStreams(scheduler.nats, bounds);
    scheduler.nats.subscribe(Subject.heartbeat, (message) => scheduler.#onHeartbeat(message));
    scheduler.nats.subscribe(Subject.progress, ({ data }) => {
      scheduler.progress.push(...ProgressBatch.decode(data).reports);
    });
    scheduler.#tail = scheduler.nats.tail({
      stream: Stream.outcomes,
      fromSequence: 1,
      onMessage: ({ data }) => {
        const { outcomes } = OutcomeBatch.decode(data);
        scheduler.batches.push(outcomes.length);
        for (const outcome of outcomes) {
          scheduler.outcomes.push(outcome);
          if (outcome.outcome?.$case !== "checkpoint") scheduler.#ended.add(outcome.lease);
        }
      },
    });
    await scheduler.#tail.start();
    return scheduler;
  }

  async stop(): Promise<void> {
    await this.#tail?.stop();
    await this.nats.stop();
  }

  /** The worker's id, once its first heartbeat was heard. */
  async workerId(): Promise<string> {
    return eventually(() => this.heartbeats.at(-1)?.workerId, { what: "a heartbeat" });
  }

  /** A grant of the next lease; `fields` replace its defaults. */
  grant(fields: Partial<LeaseGrant> & { readonly echo?: Partial<EchoSpec> } = {}): LeaseGrant {
    const lease = this.#nextLease++;
    const { echo, ...rest } = fields;
    return LeaseGrant.fromPartial({
      lease,
      jobId: `job-${lease}`,
      type: "echo",
      attempt: 1,
      spec: { spec: { $case: "echo", value: EchoSpec.fromPartial({ message: `hello ${lease}`, ...echo }) } },
      grantedAt: new Date(),
      ...rest,
    } as Parameters<typeof LeaseGrant.fromPartial>[0]);
  }

  async assign(grants: LeaseGrant[], epoch = this.epoch): Promise<void> {
    const subject = Subject.assignments(await this.workerId());
    this.nats.publish(subject, Assignment.encode({ epoch, leases: grants }).finish());
    await this.nats.flush();
  }

  async cancel(leases: bigint[], epoch = this.epoch): Promise<void> {
    const subject = Subject.cancellations(await this.workerId());
    this.nats.publish(subject, Cancellation.encode({ epoch, leases }).finish());
    await this.nats.flush();
  }

  /** The lease's first outcome that is no checkpoint. */
  async outcomeOf(lease: bigint, timeoutMs = 10_000): Promise<NonNullable<Outcome["outcome"]>> {
    const ending = (): Outcome | undefined =>
      this.outcomes.find((each) => each.lease === lease && each.outcome?.$case !== "checkpoint");
    const outcome = await eventually(ending, { timeoutMs, what: `the outcome of lease ${lease}` });
    if (!outcome.outcome) throw new Error("an outcome without content");
    return outcome.outcome;
  }

  outcomesOf(lease: bigint): Outcome[] {
    return this.outcomes.filter((each) => each.lease === lease);
  }

  /** Resolves when the worker has listed the leases and lists them no more. */
  async forgotten(...leases: bigint[]): Promise<void> {
    const lists = (heartbeat: Heartbeat | undefined, lease: bigint): boolean =>
      heartbeat?.held.some((held) => held.lease === lease) ?? false;
    const isForgotten = (lease: bigint): boolean =>
      !lists(this.heartbeats.at(-1), lease) && this.heartbeats.some((each) => lists(each, lease));
    await eventually(() => leases.every(isForgotten), { what: "the leases are forgotten" });
  }

  #onHeartbeat(message: BusMessage): void {
    const heartbeat = Heartbeat.decode(message.data);
    this.heartbeats.push(heartbeat);
    if (!this.answers) return;
    const ended = heartbeat.held
      .map(({ lease }) => lease)
      .filter((lease) => this.#ended.has(lease) || this.disowned.has(lease));
    message.respond(
      HeartbeatReply.encode({ epoch: this.epoch, cancel: [], ended, drain: this.drains }).finish(),
    );
  }
}
