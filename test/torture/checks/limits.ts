import type { JobView, Violation } from "../history.ts";
import type { JournalView } from "../journal-view.ts";

/** In the journal's order: never more leases of a concurrency key than its limit, nor of a worker than its slots. */
export function* checkLimits(view: JournalView): Generator<Violation> {
  const [final] = view.all("final");
  const slots = final?.workerSlots ?? Number.POSITIVE_INFINITY;
  const running = new Map<string, JobView>();
  for (const record of view.records) {
    const { job, event } = record;
    if (job?.status !== "RUNNING") {
      running.delete(record.jobId);
      continue;
    }
    running.set(record.jobId, job);
    if (event !== "job.started") continue;
    const others = [...running.values()].filter(({ jobId }) => jobId !== job.jobId);
    const sameKey = others.filter(({ concurrencyKey }) => concurrencyKey === job.concurrencyKey);
    if (job.concurrencyKey !== "" && sameKey.length >= job.concurrencyLimit) {
      const message = `job ${job.jobId} starts while ${sameKey.length} others run with key ${job.concurrencyKey}, of which it allows ${job.concurrencyLimit}`;
      yield { check: "concurrency", message, evidence: [record, ...sameKey] };
    }
    const sameWorker = others.filter(({ workerId }) => workerId === job.workerId);
    if (sameWorker.length >= slots) {
      const message = `worker ${job.workerId} gets a lease with ${sameWorker.length} of ${slots} slots taken`;
      yield { check: "concurrency", message, evidence: [record, ...sameWorker] };
    }
  }
}
