import { Counter, Gauge, Histogram, type Registry } from "../../platform/metrics.ts";
import { type Job, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { isTerminal, RUNNING } from "./domain/state.ts";
import type { JobTable } from "./jobs.ts";
import type { Workers } from "./workers.ts";

/** "completed", "failed", ... as labels and people write it. */
export function statusName(status: JobStatus): string {
  return STATUS_NAMES.get(status) ?? "unspecified";
}

const STATUS_NAMES = new Map<JobStatus, string>(
  Object.entries(JobStatus).map(([name, status]) => [status, name.replace("JOB_STATUS_", "").toLowerCase()]),
);

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1_800, 7_200];

/** The part of a term that gauges look at. */
interface Observed {
  readonly table: JobTable;
  readonly workers: Workers;
}

/** What the scheduler shows of itself; documented in docs/operations.md. */
export class SchedulerMetrics {
  readonly #appendSeconds: Histogram;
  readonly #batchRecords: Histogram;
  readonly #appendedBytes: Counter;
  readonly #outcomes: Counter;
  readonly #lost: Counter;
  readonly #started: Counter;
  readonly #finished: Counter;
  readonly #retries: Counter;
  readonly #queueSeconds: Histogram;
  readonly #durationSeconds: Histogram;
  readonly #leading: Gauge;
  readonly #leaderChanges: Counter;

  constructor(registry: Registry, currentTerm: () => Observed | undefined) {
    const registers = [registry];
    this.#appendSeconds = new Histogram({
      name: "arrw_journal_append_seconds",
      help: "From sending a journal batch to its acknowledgement",
      buckets: SECONDS.slice(0, 10),
      registers,
    });
    this.#batchRecords = new Histogram({
      name: "arrw_journal_batch_records",
      help: "Records per journal batch",
      buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000],
      registers,
    });
    this.#appendedBytes = new Counter({
      name: "arrw_journal_bytes_total",
      help: "Bytes appended",
      registers,
    });
    this.#outcomes = new Counter({
      name: "arrw_outcomes_total",
      help: "Reports of workers taken up; accepted=false: from another than the current lease",
      labelNames: ["kind", "accepted"],
      registers,
    });
    this.#lost = new Counter({
      name: "arrw_workers_lost_total",
      help: "Workers lost with leases",
      registers,
    });
    const byType = { labelNames: ["type"], registers };
    this.#started = new Counter({ name: "arrw_jobs_started_total", help: "Leases granted", ...byType });
    this.#retries = new Counter({
      name: "arrw_job_retries_total",
      help: "Retries after a failure",
      ...byType,
    });
    this.#finished = new Counter({
      name: "arrw_jobs_finished_total",
      help: "Jobs ended",
      labelNames: ["type", "status"],
      registers,
    });
    const histogram = { ...byType, buckets: SECONDS };
    this.#queueSeconds = new Histogram({
      name: "arrw_job_queue_seconds",
      help: "Ready to start",
      ...histogram,
    });
    this.#durationSeconds = new Histogram({
      name: "arrw_job_duration_seconds",
      help: "Start to end",
      ...histogram,
    });
    this.#leading = new Gauge({ name: "arrw_scheduler_leading", help: "1 = this replica leads", registers });
    this.#leaderChanges = new Counter({
      name: "arrw_scheduler_terms_total",
      help: "Times it took over",
      registers,
    });
    this.#observeTerm(registry, currentTerm);
  }

  appended(records: number, bytes: number, seconds: number): void {
    this.#appendSeconds.observe(seconds);
    this.#batchRecords.observe(records);
    this.#appendedBytes.inc(bytes);
  }

  outcome(kind: string, accepted: boolean): void {
    this.#outcomes.inc({ kind, accepted: String(accepted) });
  }

  workerLost(): void {
    this.#lost.inc();
  }

  leading(yes: boolean): void {
    this.#leading.set(yes ? 1 : 0);
    if (yes) this.#leaderChanges.inc();
  }

  transition(before: Job, after: Job): void {
    const { type } = after;
    if (after.status === RUNNING && before.status !== RUNNING) {
      this.#started.inc({ type });
      const waitedMs = (after.startedAt?.getTime() ?? 0) - (before.runAt?.getTime() ?? 0);
      this.#queueSeconds.observe({ type }, Math.max(0, waitedMs / 1000));
    }
    if (after.retries > before.retries) this.#retries.inc({ type });
    if (!isTerminal(after.status) || isTerminal(before.status)) return;
    this.#finished.inc({ type, status: statusName(after.status) });
    if (!after.startedAt || !after.completedAt) return;
    this.#durationSeconds.observe({ type }, (after.completedAt.getTime() - after.startedAt.getTime()) / 1000);
  }

  #observeTerm(registry: Registry, currentTerm: () => Observed | undefined): void {
    const registers = [registry];
    new Gauge({
      name: "arrw_jobs",
      help: "Jobs by type and status",
      labelNames: ["type", "status"],
      registers,
      collect() {
        this.reset();
        for (const { type, status, count } of currentTerm()?.table.store.counts.matching(undefined) ?? []) {
          this.inc({ type, status: statusName(status) }, count);
        }
      },
    });
    const workers = (measure: (term: Observed) => number) =>
      function collect(this: Gauge): void {
        const term = currentTerm();
        this.set(term ? measure(term) : 0);
      };
    const count = (term: Observed): number => [...term.workers].length;
    const slots = (term: Observed): number =>
      [...term.workers].reduce((sum, worker) => sum + worker.slots, 0);
    const used = (term: Observed): number =>
      [...term.workers].reduce((sum, worker) => sum + worker.leases.size, 0);
    new Gauge({ name: "arrw_workers", help: "Workers alive", registers, collect: workers(count) });
    new Gauge({ name: "arrw_slots", help: "Slots of all workers", registers, collect: workers(slots) });
    new Gauge({ name: "arrw_slots_used", help: "Leases held", registers, collect: workers(used) });
    const inMemory = workers((term) => term.table.size);
    new Gauge({ name: "arrw_jobs_in_memory", help: "Jobs in the heap", registers, collect: inMemory });
    const dirty = workers((term) => term.table.store.dirtyRows);
    new Gauge({
      name: "arrw_store_dirty_rows",
      help: "Rows not yet in the local store",
      registers,
      collect: dirty,
    });
  }
}
