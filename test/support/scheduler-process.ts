import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../../platform/free-port.ts";
import { connect, unary } from "../../platform/grpc/client.ts";
import {
  ListJobsRequest,
  type ListJobsResponse,
  SchedulerServiceClient,
  type Submission,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type {
  GetQueueStatsResponse,
  Job,
  JobFilter,
  SubmitJobsResult,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { eventually } from "./eventually.ts";
import { type Cleanup, tempDir } from "./temp.ts";

export interface SchedulerProcessOptions {
  readonly natsUrl: string;
  readonly env?: Readonly<Record<string, string>>;
}

const CALL_MS = 5_000;

/** The scheduler as a process of its own; it may be killed and started again at the same ports and data folder. */
export class SchedulerProcess {
  readonly client: SchedulerServiceClient;
  readonly address: string;
  /** http://host:port of /readyz and /metrics. */
  readonly probes: string;
  readonly dataFolder: string;
  /** Its local store. */
  readonly storeFolder: string;
  /** What it has logged so far, a JSON line each; over all its starts. */
  readonly lines: string[] = [];
  readonly #env: Readonly<Record<string, string>>;
  #child: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();

  private constructor(
    dataFolder: string,
    grpcPort: number,
    httpPort: number,
    options: SchedulerProcessOptions,
  ) {
    this.address = `127.0.0.1:${grpcPort}`;
    this.probes = `http://127.0.0.1:${httpPort}`;
    this.dataFolder = dataFolder;
    this.storeFolder = join(dataFolder, "scheduler", `store-${grpcPort}`);
    this.client = connect(SchedulerServiceClient, this.address);
    this.#env = {
      PATH: process.env.PATH ?? "",
      ARRW_NATS_URL: options.natsUrl,
      ARRW_DATA_DIR: dataFolder,
      ARRW_SCHEDULER_GRPC_PORT: String(grpcPort),
      ARRW_SCHEDULER_HTTP_PORT: String(httpPort),
      ARRW_JOURNAL_MAX_BYTES: String(64 * 1024 * 1024),
      ARRW_OBJECTS_MAX_BYTES: String(64 * 1024 * 1024),
      ...options.env,
    };
  }

  /** Starts one and waits until it leads, unless told otherwise; killed after the test. */
  static async start(
    t: Cleanup,
    options: SchedulerProcessOptions & { readonly standby?: boolean },
  ): Promise<SchedulerProcess> {
    const scheduler = new SchedulerProcess(await tempDir(t), await freePort(), await freePort(), options);
    t.after(async () => {
      scheduler.client.close();
      await scheduler.kill();
    });
    await scheduler.start();
    if (!options.standby) await scheduler.leads();
    return scheduler;
  }

  /** Resolves when its ports are open. @throws with its log when it ends before */
  async start(): Promise<void> {
    const child = fork(join(import.meta.dirname, "../../services/scheduler/main.ts"), [], {
      env: this.#env,
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", "pipe", "inherit", "ipc"],
    });
    this.#child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => this.lines.push(...text.split("\n")));
    this.#exited = once(child, "exit");
    const ready = once(child, "message").then(() => true);
    if (!(await Promise.race([ready, this.#exited.then(() => false)])))
      throw new Error(this.lines.join("\n"));
  }

  /** Resolves when it is gone. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.#child?.kill(signal);
    await this.#exited;
  }

  /** Resolves when the process that was started last is gone. */
  get exited(): Promise<unknown> {
    return this.#exited;
  }

  /** Of the process that was started last. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** SIGSTOP and SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
    await this.leads();
  }

  async leads(timeoutMs = 15_000): Promise<void> {
    const leads = async (): Promise<boolean> => {
      const { stats } = await unary(
        this.client,
        this.client.getQueueStats,
        { visibleLibraries: [] },
        { timeoutMs: 500 },
      );
      // A standby answers reads, too, while nobody leads.
      return stats?.staleSequence === 0n;
    };
    await eventually(leads, { timeoutMs, what: `${this.address} leads: ${this.lines.slice(-5).join("\n")}` });
  }

  /** The log lines with this message. */
  logged(message: string): string[] {
    return this.lines.filter((line) => line.includes(`"msg":"${message}"`));
  }

  async submitAll(submissions: readonly Submission[], timeoutMs = CALL_MS): Promise<SubmitJobsResult[]> {
    const request = { submissions: [...submissions] };
    return (await unary(this.client, this.client.submitJobs, request, { timeoutMs })).results;
  }

  /** Submits one job. @throws when the scheduler refuses it */
  async submit(submission: Submission): Promise<Job> {
    const [result] = await this.submitAll([submission]);
    if (result?.outcome?.$case !== "job") throw new Error(JSON.stringify(result?.outcome?.value));
    return result.outcome.value;
  }

  /** Repeats a submit as a gateway does, with the same ids, until it is acknowledged. */
  async submitUntilDurable(
    submissions: readonly Submission[],
    timeoutMs = 30_000,
  ): Promise<SubmitJobsResult[]> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        return await this.submitAll(submissions, 2_000);
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  async get(jobId: string): Promise<Job> {
    const { job } = await unary(
      this.client,
      this.client.getJob,
      { visibleLibraries: [], jobId },
      { timeoutMs: CALL_MS },
    );
    if (!job) throw new Error("a reply without a job");
    return job;
  }

  async cancel(jobId: string, reason = "test"): Promise<Job | undefined> {
    return (
      await unary(
        this.client,
        this.client.cancelJob,
        { visibleLibraries: [], jobId, reason },
        { timeoutMs: CALL_MS },
      )
    ).job;
  }

  list(filter: Partial<JobFilter> = {}, pageSize = 50, pageToken = ""): Promise<ListJobsResponse> {
    const request = ListJobsRequest.fromPartial({ filter, pageSize, pageToken } as never);
    return unary(this.client, this.client.listJobs, request, { timeoutMs: CALL_MS });
  }

  async stats(): Promise<GetQueueStatsResponse> {
    const { stats } = await unary(
      this.client,
      this.client.getQueueStats,
      { visibleLibraries: [] },
      { timeoutMs: CALL_MS },
    );
    if (!stats) throw new Error("a reply without statistics");
    return stats;
  }

  /** Polls until the job has the status, and returns it then. */
  reaches(jobId: string, status: number, timeoutMs = 10_000): Promise<Job> {
    const check = async (): Promise<Job | undefined> => {
      const job = await this.get(jobId);
      if (job.status === status) return job;
      throw new Error(`job ${jobId} has status ${job.status}, not ${status}`);
    };
    return eventually(check, { timeoutMs });
  }
}
