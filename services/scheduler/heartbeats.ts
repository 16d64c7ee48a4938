import type { Cancel, Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import type { BusMessage, BusSubscription, Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { Heartbeat, HeartbeatReply } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { JobTable } from "./jobs.ts";
import type { OutcomeReader } from "./outcomes.ts";
import type { Worker, Workers } from "./workers.ts";

export interface HeartbeatsOptions {
  readonly nats: Pick<Nats, "subscribe" | "onReconnect">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly table: JobTable;
  readonly workers: Workers;
  readonly dispatcher: Dispatcher;
  readonly outcomes: OutcomeReader;
  readonly epoch: number;
  readonly leaseTimeoutMs: number;
  readonly maySend: () => boolean;
  readonly onLost?: (worker: Worker) => void;
}

const CHECK_MS = 500;
const RESEND_MS = 2_000;
/** A longer pause of our own loop says nothing about the workers: their heartbeats waited in our socket. */
const STALL_MS = 1_000;

/**
 * Hears workers and notices those that fell silent. A lease is sent again or given up only after OUTCOMES was read to
 * its end as of that moment: otherwise work that is finished would run twice.
 */
export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  #subscription: BusSubscription | undefined;
  #cancelCheck: Cancel | undefined;
  #forgetReconnect: (() => void) | undefined;
  /** No worker counts as lost before this monotonic time: we may be the one who did not hear. */
  #graceUntilMs = 0;
  #checkedAtMs = 0;
  #busy = false;
  #stopped = false;

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  start(): void {
    const { nats, clock } = this.#options;
    this.#grace();
    this.#checkedAtMs = clock.monotonic();
    this.#subscription = nats.subscribe(Subject.heartbeat, (message) => this.#onHeartbeat(message));
    this.#forgetReconnect = nats.onReconnect(() => this.#grace());
    this.#cancelCheck = clock.every(CHECK_MS, () => this.#tick());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelCheck?.();
    this.#subscription?.unsubscribe();
    this.#forgetReconnect?.();
  }

  #grace(): void {
    this.#graceUntilMs = this.#options.clock.monotonic() + this.#options.leaseTimeoutMs;
  }

  #onHeartbeat(message: BusMessage): void {
    const { table, workers, dispatcher, epoch, maySend, log, clock } = this.#options;
    if (!maySend()) return;
    const heartbeat = Heartbeat.decode(message.data);
    if (workers.hear(heartbeat, clock.monotonic())) {
      const { workerId, host, slots, types } = heartbeat;
      log.info({ worker_id: workerId, host, slots, types }, "worker joined");
    }
    const cancel: bigint[] = [];
    const ended: bigint[] = [];
    for (const { lease, jobId } of heartbeat.held) {
      const entry = table.find(jobId);
      if (entry?.head?.lease === lease) {
        if (entry.head.job.cancelRequested) cancel.push(lease);
        continue;
      }
      // A worker forgets what is named here: the end of the lease must be durable.
      if (entry?.committed?.lease !== lease) ended.push(lease);
    }
    const drain = workers.get(heartbeat.workerId)?.drainRequested === true && !heartbeat.draining;
    message.respond(HeartbeatReply.encode({ epoch: BigInt(epoch), cancel, ended, drain }).finish());
    dispatcher.run();
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    if (now - this.#checkedAtMs > CHECK_MS + STALL_MS) this.#grace();
    this.#checkedAtMs = now;
    if (this.#busy || !this.#options.maySend()) return;
    this.#busy = true;
    void this.#check(now)
      .catch((error: unknown) =>
        this.#options.log.warn({ err: error }, "checking on workers failed; trying again"),
      )
      .finally(() => {
        this.#busy = false;
      });
  }

  async #check(now: number): Promise<void> {
    const { workers, outcomes, leaseTimeoutMs, dispatcher } = this.#options;
    const silent = now < this.#graceUntilMs ? [] : workers.silent(now, leaseTimeoutMs);
    const unlisted = [...workers].filter((worker) => unlistedLeases(worker, now).length > 0);
    if (silent.length === 0 && unlisted.length === 0) return;
    await outcomes.readToEnd();
    if (this.#stopped) return;
    for (const worker of silent) {
      // It may have been heard, or a reconnect may have given grace, while OUTCOMES was read.
      if (worker.heardAtMs < now && this.#options.clock.monotonic() >= this.#graceUntilMs) this.#lose(worker);
    }
    for (const worker of unlisted) dispatcher.resend(worker, unlistedLeases(worker, now));
    dispatcher.run();
  }

  #lose(worker: Worker): void {
    const { table, workers, log, onLost } = this.#options;
    const leases = [...worker.leases.values()];
    workers.forget(worker.workerId);
    const summary = { worker_id: worker.workerId, leases: leases.length };
    if (leases.length === 0) {
      log.info(summary, "worker left");
      return;
    }
    log.warn(summary, "worker lost");
    onLost?.(worker);
    for (const { jobId, lease } of leases) table.transition(jobId, { kind: "lose", lease });
  }
}

/** Sent a while ago, and heartbeats since then don't have them: the assignment was lost. */
function unlistedLeases(worker: Worker, now: number) {
  return [...worker.leases.values()].filter(
    ({ sentAtMs, listed }) =>
      !listed && sentAtMs !== undefined && now - sentAtMs > RESEND_MS && worker.heardAtMs > sentAtMs,
  );
}
