import { encode } from "../../platform/encode.ts";
import { Subject } from "../../platform/nats/names.ts";
import {
  Assignment,
  Cancellation,
  Heartbeat,
  HeartbeatReply,
  type LeaseGrant,
  type Outcome,
  OutcomeBatch,
} from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { Attempt } from "./attempt.ts";
import type { Host } from "./host.ts";
import type { IndexFences } from "./index-fences.ts";
import type { Link } from "./link.ts";
import type { JobPlan } from "./plan.ts";

export const HEARTBEAT_MS = 500;
/** Without a round trip for so long, all handlers are stopped. */
const CUT_OFF_MS = 2_000;
const DRAIN_MS = 1_000;
const APPEND_TIMEOUT_MS = 2_000;

const TYPES = ["echo", "batch_import", "index_rebuild"];

interface Held {
  readonly grant: LeaseGrant;
  /** undefined = it has ended or was given up. */
  attempt: Attempt | undefined;
  finished: boolean;
}

export interface WorkerOptions {
  readonly host: Host;
  readonly link: Link;
  readonly index: IndexFences;
  readonly slots: number;
  readonly planOf: (jobId: string) => JobPlan | undefined;
  /** The drain has ended. */
  readonly onDrained: () => void;
}

/** A worker that keeps the worker's rules; handlers take a while and end as their plan says. */
export class SimulatedWorker {
  readonly workerId: string;
  readonly #options: WorkerOptions;
  readonly #accepted = new Set<bigint>();
  readonly #held = new Map<bigint, Held>();
  readonly #outcomes: { readonly outcome: Outcome; readonly onStored: () => void }[] = [];
  #sending = false;
  #epoch = 0n;
  #draining = false;
  #drained = false;
  #roundTripAtMs = 0;
  #cutOff = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.workerId = options.host.name;
    this.#roundTripAtMs = options.host.timeline.now;
  }

  /** Leases in its hands, ended ones too. */
  get held(): number {
    return this.#held.size;
  }

  start(): void {
    const { link, host } = this.#options;
    link.subscribe(Subject.assignments(this.workerId), ({ data }) => this.#onAssignment(data));
    link.subscribe(Subject.cancellations(this.workerId), ({ data }) => this.#onCancellation(data));
    this.#beat();
    host.clock.every(HEARTBEAT_MS, () => this.#beat());
  }

  /** SIGTERM: what does not end in time is given back. */
  drain(): void {
    this.#draining = true;
    this.#beat();
    this.#options.host.clock.after(DRAIN_MS, () => this.#stopAll("drain"));
    this.#checkDrained();
  }

  #onAssignment(data: Uint8Array): void {
    const { epoch, leases } = Assignment.decode(data);
    if (!this.#isCurrent(epoch)) return;
    for (const grant of leases) {
      if (this.#accepted.has(grant.lease)) continue;
      this.#accepted.add(grant.lease);
      this.#run(grant);
    }
  }

  #run(grant: LeaseGrant): void {
    const { host, index, planOf } = this.#options;
    const { lease } = grant;
    const held: Held = { grant, attempt: undefined, finished: false };
    this.#held.set(lease, held);
    const publish = (outcome: Outcome, onStored: () => void): void => this.#publish(outcome, onStored);
    const attempt = new Attempt(grant, planOf(grant.jobId), { host, index, publish });
    held.attempt = attempt;
    attempt.onEnded = (outcome) => {
      held.attempt = undefined;
      if (!outcome) return;
      this.#publish(outcome, () => {
        held.finished = true;
        this.#checkDrained();
      });
    };
    if (this.#draining) attempt.stop("drain");
    attempt.start();
  }

  #onCancellation(data: Uint8Array): void {
    const { epoch, leases } = Cancellation.decode(data);
    if (!this.#isCurrent(epoch)) return;
    for (const lease of leases) this.#held.get(lease)?.attempt?.stop("cancel");
  }

  #onReply(data: Uint8Array): void {
    const { epoch, cancel, ended } = HeartbeatReply.decode(data);
    if (!this.#isCurrent(epoch)) return;
    for (const lease of cancel) this.#held.get(lease)?.attempt?.stop("cancel");
    for (const lease of ended) {
      const held = this.#held.get(lease);
      this.#held.delete(lease);
      held?.attempt?.disown();
    }
    this.#checkDrained();
  }

  #isCurrent(epoch: bigint): boolean {
    if (epoch < this.#epoch) return false;
    this.#epoch = epoch;
    return true;
  }

  #beat(): void {
    const { link, host, slots } = this.#options;
    const held = [...this.#held.values()].map(({ grant, finished }) => {
      return { lease: grant.lease, jobId: grant.jobId, finished };
    });
    const heartbeat = encode(Heartbeat, {
      workerId: this.workerId,
      host: "",
      version: "",
      slots,
      types: TYPES,
      draining: this.#draining,
      held,
      startedAt: undefined,
    });
    link.request(Subject.heartbeat, heartbeat, (reply) => this.#onReply(reply));
    if (link.reachable) {
      this.#roundTripAtMs = host.timeline.now;
      this.#cutOff = false;
    } else if (!this.#cutOff && host.timeline.now - this.#roundTripAtMs >= CUT_OFF_MS) {
      this.#cutOff = true;
      this.#stopAll("cut off");
    }
  }

  #stopAll(why: "drain" | "cut off"): void {
    for (const { attempt } of [...this.#held.values()]) attempt?.stop(why);
  }

  #publish(outcome: Outcome, onStored: () => void): void {
    this.#outcomes.push({ outcome, onStored });
    if (!this.#sending) void this.#send();
  }

  /** One batch at a time, until it is acknowledged. */
  async #send(): Promise<void> {
    const { link, host } = this.#options;
    this.#sending = true;
    while (this.#outcomes.length > 0) {
      const batch = this.#outcomes.splice(0);
      const outcomes = batch.map(({ outcome }) => outcome);
      const data = encode(OutcomeBatch, { workerId: this.workerId, outcomes });
      for (let pauseMs = 50; ; pauseMs = Math.min(1_000, pauseMs * 2)) {
        const options = { timeoutMs: APPEND_TIMEOUT_MS };
        const stored = await link.append(Subject.outcomes, data, options).then(
          () => true,
          () => false,
        );
        if (stored) break;
        await new Promise<void>((resolve) => void host.clock.after(pauseMs, resolve));
      }
      for (const { onStored } of batch) onStored();
    }
    this.#sending = false;
    this.#checkDrained();
  }

  #checkDrained(): void {
    if (!this.#draining || this.#drained || this.#sending) return;
    if ([...this.#held.values()].some(({ attempt, finished }) => attempt || !finished)) return;
    this.#drained = true;
    this.#beat();
    this.#options.onDrained();
  }
}
