import type { Part } from "../../platform/lifecycle.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import type { JobProgress } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { ProgressBatch, type ProgressReport } from "../../proto/gen/arrwdb/worker/v1/worker.ts";

const INTERVAL_MS = 100;
const MAX_REPORTS = 1_000;

/** Publishes the newest progress of each lease, at most 10 times a second, all leases in one message. */
export class Progress implements Part {
  readonly name = "progress";
  readonly #nats: Pick<Nats, "publish" | "unready">;
  readonly #workerId: string;
  readonly #reports = new Map<bigint, ProgressReport>();
  #sentAtMs = -INTERVAL_MS;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(nats: Pick<Nats, "publish" | "unready">, workerId: string) {
    this.#nats = nats;
    this.#workerId = workerId;
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#reports.clear();
  }

  report(jobId: string, lease: bigint, progress: JobProgress): void {
    if (this.#stopped) return;
    this.#reports.set(lease, { jobId, lease, progress });
    if (this.#timer) return;
    const waitMs = Math.max(0, this.#sentAtMs + INTERVAL_MS - performance.now());
    this.#timer = setTimeout(() => this.#send(), waitMs);
  }

  /** The lease has ended; its outcome carries the last progress. */
  forget(lease: bigint): void {
    if (this.#reports.size > 0) this.#reports.delete(lease);
  }

  #send(): void {
    this.#timer = undefined;
    this.#sentAtMs = performance.now();
    const reports = [...this.#reports.values()];
    this.#reports.clear();
    // Lost without harm: newer progress follows.
    if (this.#nats.unready() !== undefined) return;
    for (let start = 0; start < reports.length; start += MAX_REPORTS) {
      const batch = { workerId: this.#workerId, reports: reports.slice(start, start + MAX_REPORTS) };
      this.#nats.publish(Subject.progress, ProgressBatch.encode(batch).finish());
    }
  }
}
