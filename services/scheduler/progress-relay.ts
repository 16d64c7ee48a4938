import type { BusMessage, BusSubscription, Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { JobProgressEvent, ProgressBatch } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { JobTable } from "./jobs.ts";

export interface ProgressRelayOptions {
  readonly nats: Pick<Nats, "publish" | "subscribe">;
  readonly table: JobTable;
  readonly maySend: () => boolean;
}

/** Passes progress on to gateways once its lease is known to be current, so that a stale worker is never seen. */
export class ProgressRelay {
  readonly #options: ProgressRelayOptions;
  #subscription: BusSubscription | undefined;

  constructor(options: ProgressRelayOptions) {
    this.#options = options;
  }

  start(): void {
    this.#subscription = this.#options.nats.subscribe(Subject.progress, (message) =>
      this.#onMessage(message),
    );
  }

  stop(): void {
    this.#subscription?.unsubscribe();
  }

  #onMessage(message: BusMessage): void {
    const { nats, table, maySend } = this.#options;
    if (!maySend()) return;
    for (const { jobId, lease, progress } of ProgressBatch.decode(message.data).reports) {
      const entry = table.find(jobId);
      if (!progress || !entry?.committed || entry.committed.lease !== lease || lease === 0n) continue;
      entry.progress = progress;
      const { revision } = entry.committed.job;
      nats.publish(Subject.jobProgress, JobProgressEvent.encode({ jobId, revision, progress }).finish());
    }
  }
}
