import { setTimeout as sleep } from "node:timers/promises";
import { ArrwClient } from "../../../client/index.ts";
import { toArrwError } from "../../../platform/errors.ts";
import { connect, unary } from "../../../platform/grpc/client.ts";
import {
  DeleteJobRequest,
  type Job,
  JobServiceClient,
  RetryJobRequest,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { CallName } from "../history.ts";
import type { ImportBody, Operation } from "../plan.ts";
import { clockMs, type Recorder } from "../recorder.ts";
import { viewOf } from "../views.ts";
import { documentsOf, echoRequest, importRequest } from "./requests.ts";
import { Watching } from "./watching.ts";

type Of<K extends Operation["kind"]> = Extract<Operation, { kind: K }>;

interface Recorded {
  readonly call: CallName;
  readonly jobId?: string;
  readonly requestId?: string;
  readonly body?: string;
}

const SETUP_TIMEOUT_MS = 20_000;

/**
 * The clients: carries out operations and records each call with its start, its end, and what came back. A call is made
 * once; whether one that failed has had an effect is for the journal to say.
 */
export class Driver {
  readonly #recorder: Recorder;
  readonly #jobs: JobServiceClient;
  readonly #client: ArrwClient;
  readonly watching: Watching;
  readonly libraryIds: string[] = [];
  readonly #startedAtMs = clockMs();
  /** Jobs by the number of the operation that made them. */
  readonly #made = new Map<number, string>();
  readonly #running = new Set<Promise<void>>();
  #calls = 0;

  constructor(address: string, recorder: Recorder) {
    this.#recorder = recorder;
    this.#jobs = connect(JobServiceClient, address);
    this.#client = new ArrwClient({ address });
    this.watching = new Watching(this.#jobs, recorder);
  }

  /** Makes the libraries; before the first fault. */
  async prepare(libraries: number): Promise<void> {
    for (let n = 0; n < libraries; n++) {
      const name = `library-${n}`;
      const settings = { timeoutMs: SETUP_TIMEOUT_MS };
      const embedding = { provider: "hashing", model: "", dimensions: 16 };
      const { libraryId } = await this.#client.createLibrary({ name, libraryId: name, embedding }, settings);
      this.libraryIds.push(libraryId);
    }
  }

  /** Worker processes that the scheduler counts as alive. */
  async workers(): Promise<number> {
    return (await this.#client.stats({ timeoutMs: SETUP_TIMEOUT_MS })).numWorkers;
  }

  /** Begins an operation; `number` is its place in the plan. Resolves when the call has ended; never throws. */
  begin(operation: Operation, number: number): Promise<void> {
    const running = this.#run(operation, number).finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  /** Resolves when every call has ended. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  async stop(): Promise<void> {
    await this.idle();
    await this.watching.stop();
    this.#client.close();
    this.#jobs.close();
  }

  async #run(operation: Operation, number: number): Promise<void> {
    switch (operation.kind) {
      case "submit":
        return this.#keep(number, await this.#submit(operation));
      case "import":
        return this.#keep(number, await this.#import(operation));
      default: {
        const jobId = await this.#jobOf(operation.of, operation.timeoutMs);
        if (jobId === undefined) return;
        if (operation.kind === "watch") this.watching.watch(jobId);
        else await this.#ask(operation.kind, jobId, operation.timeoutMs);
      }
    }
  }

  #keep(number: number, job: Job | undefined): void {
    if (job) this.#made.set(number, job.jobId);
  }

  /** The job may be on its way still. */
  async #jobOf(number: number, timeoutMs: number): Promise<string | undefined> {
    const deadline = clockMs() + timeoutMs;
    for (;;) {
      const jobId = this.#made.get(number);
      if (jobId !== undefined || clockMs() > deadline) return jobId;
      await sleep(50);
    }
  }

  #submit({ body, requestId, timeoutMs }: Of<"submit">): Promise<Job | undefined> {
    const request = echoRequest(body, requestId, this.#startedAtMs);
    const recorded = { call: "submit", requestId, body: body.name } as const;
    return this.#record(recorded, async () => {
      return (await unary(this.#jobs, this.#jobs.submitJob, request, { timeoutMs })).job;
    });
  }

  #import({ body, requestId, timeoutMs }: Of<"import">): Promise<Job | undefined> {
    const libraryId = this.libraryIds[body.library] ?? "";
    const { name, documentIds, chunksPerDocument } = body;
    this.#recorder.add({ kind: "importBody", body: name, libraryId, documentIds, chunksPerDocument });
    const recorded = { call: "import", requestId, body: name } as const;
    return this.#record(recorded, () =>
      body.streamed
        ? this.#stream(body, libraryId, timeoutMs)
        : unary(this.#jobs, this.#jobs.submitJob, importRequest(body, requestId, libraryId), {
            timeoutMs,
          }).then(({ job }) => job),
    );
  }

  #stream(body: ImportBody, libraryId: string, timeoutMs: number): Promise<Job> {
    const { labels } = importRequest(body, "", libraryId);
    const options = { timeoutMs, labels, requestId: `stream-${body.name}` };
    return this.#client.importDocuments(libraryId, documentsOf(body), options);
  }

  async #ask(kind: "cancel" | "get" | "retry" | "delete", jobId: string, timeoutMs: number): Promise<void> {
    const jobs = this.#jobs;
    const bounds = { timeoutMs };
    await this.#record({ call: kind, jobId }, async () => {
      switch (kind) {
        case "cancel":
          return (await unary(jobs, jobs.cancelJob, { jobId, reason: "torture" }, bounds)).job;
        case "get": {
          const { job, staleSequence } = await unary(jobs, jobs.getJob, { jobId }, bounds);
          return staleSequence === 0n ? job : undefined;
        }
        case "retry": {
          const request = RetryJobRequest.fromPartial({ jobId });
          return (await unary(jobs, jobs.retryJob, request, bounds)).job;
        }
        case "delete":
          await unary(jobs, jobs.deleteJob, DeleteJobRequest.fromPartial({ jobId }), bounds);
          return undefined;
      }
    });
  }

  async #record(recorded: Recorded, run: () => Promise<Job | undefined>): Promise<Job | undefined> {
    this.#calls += 1;
    const { call, jobId = "", requestId = "", body = "" } = recorded;
    const head = { kind: "call", id: this.#calls, call, jobId, requestId, body } as const;
    const startMs = clockMs();
    try {
      const job = await run();
      const reply = job && viewOf(job);
      const entry = { ...head, startMs, endMs: clockMs(), reply, code: "", reason: "", message: "" };
      this.#recorder.add(entry);
      return job;
    } catch (thrown) {
      const { code, reason, message } = codeOf(thrown);
      this.#recorder.add({ ...head, startMs, endMs: clockMs(), reply: undefined, code, reason, message });
      return undefined;
    }
  }
}

/** ArrwError and ClientError name their codes alike. */
export function codeOf(thrown: unknown): { code: string; reason: string; message: string } {
  const { code, reason, message } =
    thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" && "reason" in thrown
      ? (thrown as Error & { code: string; reason: string })
      : toArrwError(thrown);
  return { code, reason, message };
}
