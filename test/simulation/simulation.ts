import type { Logger } from "../../platform/log.ts";
import { Client } from "./client.ts";
import { Faults } from "./faults.ts";
import { type FenceRule, IndexFences } from "./index-fences.ts";
import { JournalChecker } from "./journal-checker.ts";
import { type Action, FAULTS_MS, type JobPlan, type Plan } from "./plan.ts";
import { Random } from "./random.ts";
import { LEASE_TIMEOUT_MS, SimulatedScheduler } from "./scheduler.ts";
import { Server } from "./server.ts";
import { checkAtRest, whatIsOpen } from "./settled.ts";
import { Timeline } from "./timeline.ts";
import { WorkerPool } from "./worker-pool.ts";

const SETTLE_MS = 90_000;
const LOOK_MS = 250;

export interface SimulationOptions {
  readonly log: Logger;
  /** Every line of what happens; undefined = nobody reads it. */
  readonly onLine?: (line: string) => void;
  /** Replaces the index's rule, to see that it is needed. */
  readonly fenceRule?: FenceRule;
  /** The journal stores appends whatever sequence they expect. */
  readonly ignoreExpected?: boolean;
}

export interface Result {
  /** What must not be; empty = all is well. */
  readonly failures: readonly string[];
  readonly virtualMs: number;
  readonly events: number;
  readonly records: number;
}

/** Runs one plan from start to rest. The same plan gives the same result. */
export async function simulate(plan: Plan, options: SimulationOptions): Promise<Result> {
  const simulation = new Simulation(plan, options);
  return simulation.run();
}

class Simulation {
  readonly #plan: Plan;
  readonly #timeline = new Timeline();
  readonly #checker: JournalChecker;
  readonly #server: Server;
  readonly #index: IndexFences;
  readonly #schedulers: SimulatedScheduler[];
  readonly #workers: WorkerPool;
  readonly #client: Client;
  readonly #faults: Faults;
  readonly #note: ((line: string) => void) | undefined;
  readonly #failures: string[] = [];
  readonly #jobs = new Map<string, JobPlan>();

  constructor(plan: Plan, { log, onLine, fenceRule, ignoreExpected }: SimulationOptions) {
    const { seed, loss, duplicates, journalMs, slots } = plan;
    const timeline = this.#timeline;
    this.#plan = plan;
    this.#note = onLine ? (line) => onLine(`${timeline.now.toFixed(1).padStart(9)} ${line}`) : undefined;
    const fail = (message: string): void => {
      this.#note?.(`FAILED: ${message}`);
      this.#failures.push(message);
      timeline.stop();
    };
    const checker = new JournalChecker({
      slots,
      now: () => timeline.now,
      fail,
      note: this.#note,
      mayBeLost: (workerId) => loss > 0 || this.#faults.wasSilenced(workerId, 3 * LEASE_TIMEOUT_MS),
    });
    this.#checker = checker;
    this.#server = new Server(
      (sequence, data) => checker.onJournal(sequence, data),
      (sequence, data) => checker.onOutcomes(sequence, data),
      ignoreExpected,
    );
    this.#index = new IndexFences((jobId, lease) => checker.onWritten(jobId, lease), fenceRule);
    const noise = { loss, duplicates, journalMs };
    const shared = { seed, timeline, server: this.#server, noise, index: this.#index };
    const { keepJobs, journalBytes } = plan;
    this.#schedulers = Array.from(
      { length: plan.schedulers },
      (_, n) => new SimulatedScheduler({ ...shared, name: `scheduler-${n}`, log, keepJobs, journalBytes }),
    );
    const planOf = (jobId: string): JobPlan | undefined => this.#jobs.get(jobId);
    this.#workers = new WorkerPool({ ...shared, count: plan.workers, slots, planOf });
    const random = Random.of(seed, "client");
    const schedulers = this.#schedulers;
    this.#client = new Client({ timeline, random, schedulers, checker, fail, note: this.#note });
    this.#faults = new Faults({
      timeline,
      server: this.#server,
      index: this.#index,
      schedulers,
      workers: this.#workers,
      note: this.#note,
    });
  }

  async run(): Promise<Result> {
    for (const scheduler of this.#schedulers) scheduler.start();
    this.#workers.start();
    const { jobs, actions } = this.#plan;
    jobs.forEach((job, number) => {
      this.#timeline.at(job.at, () => this.#submit(number, false));
    });
    for (const action of actions) this.#timeline.at(action.at, () => this.#act(action));
    await this.#timeline.run(FAULTS_MS);
    if (this.#failures.length === 0) await this.#settle();
    return {
      failures: this.#failures,
      virtualMs: this.#timeline.now,
      events: this.#timeline.count,
      records: this.#checker.records,
    };
  }

  async #settle(): Promise<void> {
    const timeline = this.#timeline;
    this.#note?.("everything is mended");
    this.#faults.mend();
    for (const { type } of this.#checker.queues) this.#resume(type);
    const untilMs = timeline.now + SETTLE_MS;
    let open: string | undefined = "not looked at";
    while (open !== undefined && timeline.now < untilMs && this.#failures.length === 0) {
      await timeline.run(timeline.now + LOOK_MS);
      const { length } = this.#checker.queues;
      if (length > 0 && this.#client.open === 0)
        for (const { type } of this.#checker.queues) this.#resume(type);
      open = whatIsOpen(this.#checker, this.#schedulers, this.#workers, this.#client, this.#server);
    }
    if (this.#failures.length > 0) return;
    if (open !== undefined) this.#failures.push(`${SETTLE_MS / 1_000} s after the last fault: ${open}`);
    else this.#failures.push(...checkAtRest(this.#checker, this.#schedulers, this.#server));
    await this.#stop();
  }

  /** Lets go of everything, so that nothing of this run goes on in the next. */
  async #stop(): Promise<void> {
    for (const scheduler of this.#schedulers) scheduler.kill(true);
    this.#workers.kill();
  }

  #resume(type: string): void {
    this.#client.call({ kind: "queue", queue: { type, paused: false, maxRunning: 0 } });
  }

  #submit(number: number, newId: boolean): void {
    const plan = this.#plan.jobs[number];
    if (!plan) return;
    // Without a request_id another id would be another job.
    const jobId = newId && plan.withRequestId ? `job-${number}-again` : `job-${number}`;
    this.#jobs.set(jobId, plan);
    this.#client.call({ kind: "submit", jobId, plan, number });
  }

  #act(action: Action): void {
    this.#note?.(`action: ${JSON.stringify(action)}`);
    const job = "job" in action ? action.job % Math.max(1, this.#plan.jobs.length) : 0;
    const jobId = `job-${job}`;
    switch (action.do) {
      case "cancel":
      case "retry":
      case "delete":
      case "get":
        this.#client.call({ kind: action.do, jobId, fromCheckpoint: false });
        break;
      case "retry from checkpoint":
        this.#client.call({ kind: "retry", jobId, fromCheckpoint: true });
        break;
      case "submit again":
        // Only what was submitted can be repeated.
        if (this.#jobs.has(jobId)) this.#submit(job, action.newId);
        break;
      case "pause":
      case "resume":
        this.#client.call({ kind: "queue", queue: { type: action.type, paused: action.do === "pause" } });
        break;
      case "limit":
        this.#client.call({ kind: "queue", queue: { type: action.type, maxRunning: action.maxRunning } });
        break;
      default:
        if (action.do === "lose leader key") this.#client.mayReadOld = true;
        this.#faults.inject(action);
    }
  }
}
