import { setTimeout as sleep } from "node:timers/promises";
import { v7 as uuidv7 } from "uuid";
import { silentLog } from "../../platform/log.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import {
  Assignment,
  Cancellation,
  CompletedOutcome,
  Heartbeat,
  HeartbeatReply,
  type LeaseGrant,
  type Outcome,
  OutcomeBatch,
} from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Cleanup } from "./temp.ts";

export interface ProtocolWorkerOptions {
  readonly slots?: number;
  readonly types?: readonly string[];
  /** What it reports of a new lease, if anything, as soon as it has it. */
  readonly answer?: (grant: LeaseGrant) => Outcome["outcome"];
  /** Assignments that arrive are dropped. */
  readonly deaf?: boolean;
}

export const completed = (): Outcome["outcome"] => ({
  $case: "completed",
  value: CompletedOutcome.fromPartial({}),
});

const HEARTBEAT_MS = 200;

/** The worker's side of the protocol, and nothing behind it: what it does with a lease the test says. */
export class ProtocolWorker {
  readonly workerId = uuidv7();
  readonly nats: Nats;
  readonly grants: LeaseGrant[] = [];
  /** Every lease that an assignment has named, repeats included. */
  readonly assigned: bigint[] = [];
  readonly cancelled: bigint[] = [];
  readonly replies: HeartbeatReply[] = [];
  /** Leases in its hands, finished ones too until a reply confirms them. */
  readonly held = new Map<bigint, { jobId: string; finished: boolean }>();
  deaf: boolean;
  draining = false;
  slots: number;
  readonly #options: ProtocolWorkerOptions;
  #silent = false;
  #stopped = false;
  #beating: Promise<void> = Promise.resolve();

  private constructor(natsUrl: string, options: ProtocolWorkerOptions) {
    this.nats = new Nats({ url: natsUrl, name: "protocol-worker", log: silentLog() });
    this.#options = options;
    this.deaf = options.deaf ?? false;
    this.slots = options.slots ?? 4;
  }

  static async start(
    t: Cleanup,
    natsUrl: string,
    options: ProtocolWorkerOptions = {},
  ): Promise<ProtocolWorker> {
    const worker = new ProtocolWorker(natsUrl, options);
    await worker.nats.start();
    t.after(() => worker.stop());
    const { workerId, nats } = worker;
    nats.subscribe(Subject.assignments(workerId), ({ data }) =>
      worker.#onAssignment(Assignment.decode(data)),
    );
    nats.subscribe(Subject.cancellations(workerId), ({ data }) => {
      worker.cancelled.push(...Cancellation.decode(data).leases);
    });
    worker.#beating = worker.#beat();
    return worker;
  }

  /** No more heartbeats: as if the process were gone. */
  fallSilent(): void {
    this.#silent = true;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#beating;
    await this.nats.stop();
  }

  /** Publishes an outcome of a lease, again and again until it is stored. */
  async report(lease: bigint, outcome: Outcome["outcome"], jobId?: string): Promise<void> {
    const held = this.held.get(lease);
    const batch = {
      workerId: this.workerId,
      outcomes: [{ jobId: jobId ?? held?.jobId ?? "", lease, outcome, fenceOpen: false }],
    };
    const bytes = OutcomeBatch.encode(batch).finish();
    for (;;) {
      try {
        await this.nats.append(Subject.outcomes, bytes, { timeoutMs: 2_000 });
        break;
      } catch (error) {
        if (this.#stopped) throw error;
        await sleep(50);
      }
    }
    if (held && outcome?.$case !== "checkpoint") held.finished = true;
  }

  #onAssignment({ leases }: Assignment): void {
    for (const grant of leases) {
      this.assigned.push(grant.lease);
      if (this.deaf || this.grants.some(({ lease }) => lease === grant.lease)) continue;
      this.grants.push(grant);
      this.held.set(grant.lease, { jobId: grant.jobId, finished: false });
      const outcome = this.#options.answer?.(grant);
      if (outcome) void this.report(grant.lease, outcome).catch(() => undefined);
    }
  }

  async #beat(): Promise<void> {
    while (!this.#stopped) {
      if (!this.#silent) await this.#heartbeat().catch(() => undefined);
      await sleep(HEARTBEAT_MS);
    }
  }

  async #heartbeat(): Promise<void> {
    const { workerId, slots, draining } = this;
    const held = [...this.held].map(([lease, { jobId, finished }]) => ({ lease, jobId, finished }));
    const types = [...(this.#options.types ?? ["echo"])];
    const message = Heartbeat.fromPartial({
      workerId,
      host: "test",
      version: "0",
      slots,
      types,
      draining,
      held,
    });
    const data = await this.nats.request(Subject.heartbeat, Heartbeat.encode(message).finish(), 500);
    const reply = HeartbeatReply.decode(data);
    this.replies.push(reply);
    for (const lease of reply.ended) this.held.delete(lease);
  }
}
