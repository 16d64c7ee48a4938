import { type ArrwError, notFound, unavailable } from "../../platform/errors.ts";
import { GrpcServer, type ImplementedService, implement } from "../../platform/grpc/server.ts";
import { silentLog } from "../../platform/log.ts";
import { createRegistry } from "../../platform/metrics.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { JobState, JournalBatch, JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import {
  type ChangeJobsRequest,
  type ChangeQueueRequest,
  type GetJobRequest,
  type ListJobsRequest,
  SchedulerServiceService,
  type Submission,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { Job, type JobProgress, JobStatus, type SubmitJobsResult } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Worker } from "../../proto/gen/arrwdb/v1/queues.ts";
import { JobProgressEvent } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { formatCursor } from "../../services/gateway/domain/watch-cursor.ts";
import type { Cleanup } from "./temp.ts";

/** A scheduler that does what a test tells it: jobs change only through `move`. */
export class FakeScheduler {
  readonly jobs = new Map<string, Job>();
  readonly submissions: Submission[] = [];
  readonly lists: ListJobsRequest[] = [];
  readonly changes: ChangeJobsRequest[] = [];
  readonly queueChanges: ChangeQueueRequest[] = [];
  workers: Worker[] = [];
  /** Runs when a retry, a deletion or a bulk change was carried out, before it is answered. */
  afterChange: (() => Promise<void> | void) | undefined;
  reads = 0;
  /** So many reads of a job are answered as a standby does. */
  staleReads = 0;
  /** Answers instead of the fake's own logic, where it gives something. */
  onSubmit: ((submission: Submission) => SubmitJobsResult | undefined) | undefined;
  /** Runs before a submit is dealt with. */
  beforeSubmit: ((submissions: readonly Submission[]) => Promise<void>) | undefined;
  /** Thrown by the next calls, one each. */
  readonly failures: ArrwError[] = [];
  /** Set: it refuses writes, and reads too where `leader` names one; "" = it knows of none. */
  follows: { readonly leader: string } | undefined;
  /** Times it was asked whether it leads. */
  asked = 0;
  /** Set: it answers nothing, as a frozen process does, until this resolves. */
  frozen: Promise<void> | undefined;
  /** Runs before a read is answered. */
  onRead: (() => Promise<void> | void) | undefined;
  readonly #nats: Nats | undefined;
  readonly #servers: GrpcServer[] = [];
  #port = 0;
  /** Of the newest batch. */
  #sequence = 0;

  constructor(nats?: Nats) {
    this.#nats = nats;
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  async start(t?: Cleanup): Promise<this> {
    const server = new GrpcServer({
      host: "127.0.0.1",
      port: this.#port,
      services: [this.#service()],
      log: silentLog(),
      registry: createRegistry("fake-scheduler"),
      maxReceiveBytes: 64 * 1024 * 1024,
      defaultTimeoutMs: 10_000,
    });
    await server.start();
    this.#servers.push(server);
    this.#port = server.port;
    t?.after(() => this.stop());
    return this;
  }

  /** Starts again on the same port with `start`. */
  async stop(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((server) => server.stop()));
  }

  /** Breaks every connection in the midst of its calls, as a killed process does; `start` brings it back. */
  async crash(): Promise<void> {
    await Promise.all(this.#servers.splice(0).map((server) => server.crash()));
  }

  /** Makes the next revision of a job, known here at once; `journal` false leaves the journal without it. */
  async move(jobId: string, change: Partial<Job>, journal = true): Promise<Job> {
    const before =
      this.jobs.get(jobId) ?? Job.fromPartial({ jobId, type: "echo", status: JobStatus.JOB_STATUS_PENDING });
    const job: Job = { ...before, ...change, revision: before.revision + 1n };
    this.jobs.set(jobId, job);
    if (journal) await this.append([job]);
    return job;
  }

  /** One batch of the journal. */
  async append(jobs: readonly Job[], leaderAddress = ""): Promise<number> {
    const at = new Date();
    return this.appendRecords(
      jobs.map((job) => ({
        jobId: job.jobId,
        revision: job.revision,
        event: "job.changed",
        at,
        state: JobState.fromPartial({ job }),
      })),
      leaderAddress,
    );
  }

  /** One batch of the journal. @returns its sequence */
  async appendRecords(records: readonly Partial<JournalRecord>[], leaderAddress = ""): Promise<number> {
    const encoded = records.map((record) =>
      Buffer.from(JournalRecord.encode({ ...JournalRecord.fromPartial({}), ...record }).finish()),
    );
    const batch = JournalBatch.fromPartial({ version: 1, epoch: 1n, records: encoded, leaderAddress });
    if (!this.#nats) return 0;
    const bytes = JournalBatch.encode(batch).finish();
    this.#sequence = await this.#nats.append(Subject.journal, bytes, { timeoutMs: 5_000 });
    return this.#sequence;
  }

  async appendDeletion(jobId: string): Promise<void> {
    this.jobs.delete(jobId);
    const record = JournalRecord.encode(JournalRecord.fromPartial({ jobId, revision: 99n })).finish();
    const batch = JournalBatch.fromPartial({ version: 1, epoch: 1n, records: [Buffer.from(record)] });
    await this.#nats?.append(Subject.journal, JournalBatch.encode(batch).finish(), { timeoutMs: 5_000 });
  }

  report(jobId: string, revision: bigint, progress: JobProgress): void {
    const event = JobProgressEvent.encode({ jobId, revision, progress }).finish();
    this.#nats?.publish(Subject.jobProgress, event);
  }

  #service(): ImplementedService {
    return implement(SchedulerServiceService, {
      submitJobs: async ({ submissions }) => {
        if (submissions.length === 0) this.asked += 1;
        await this.#answers();
        // Asks whether it leads, no more.
        if (submissions.length === 0) return { results: [] };
        this.#fail();
        await this.beforeSubmit?.(submissions);
        return { results: submissions.map((submission) => this.#submit(submission)) };
      },
      getJob: async ({ jobId }: GetJobRequest) => {
        await this.#answers(true);
        this.#fail();
        this.reads += 1;
        const job = this.jobs.get(jobId);
        await this.onRead?.();
        if (!job) throw notFound("job", jobId);
        const staleSequence = this.staleReads > 0 ? 7n : 0n;
        this.staleReads -= 1;
        return { job, staleSequence };
      },
      listJobs: async (request) => {
        this.#fail();
        this.lists.push(request);
        return {
          jobs: [...this.jobs.values()],
          nextPageToken: "",
          totalSize: undefined,
          cursor: this.#sequence === 0 ? "" : formatCursor(this.#sequence),
          staleSequence: 0n,
        };
      },
      cancelJob: async ({ jobId }) => {
        this.#fail();
        if (!this.jobs.has(jobId)) throw notFound("job", jobId);
        return { job: await this.move(jobId, { status: JobStatus.JOB_STATUS_CANCELLED }) };
      },
      retryJob: async ({ jobId, endedRevision }) => {
        this.#fail();
        const known = this.jobs.get(jobId);
        if (!known) throw notFound("job", jobId);
        if (endedRevision !== 0n && known.revision > endedRevision) return { job: known };
        const job = await this.move(jobId, { status: JobStatus.JOB_STATUS_PENDING });
        await this.afterChange?.();
        return { job };
      },
      deleteJob: async ({ jobId }) => {
        this.#fail();
        if (!this.jobs.has(jobId)) throw notFound("job", jobId);
        await this.appendDeletion(jobId);
        await this.afterChange?.();
        return {};
      },
      changeJobs: async (request) => {
        this.#fail();
        this.changes.push(request);
        await this.afterChange?.();
        return { changedJobs: 3n, skippedJobs: 2n, hasMore: true };
      },
      changeQueue: async (request) => {
        this.#fail();
        this.queueChanges.push(request);
        const { type, paused = false, maxRunning = 0 } = request;
        return { queue: { type, paused, maxRunning } };
      },
      listWorkers: async () => {
        this.#fail();
        return { workers: this.workers };
      },
      drainWorker: async ({ workerId }) => {
        this.#fail();
        const worker = this.workers.find((each) => each.workerId === workerId);
        if (!worker) throw notFound("worker", workerId);
        return { worker: { ...worker, draining: true } };
      },
      getQueueStats: async () => {
        this.#fail();
        return { stats: undefined };
      },
    });
  }

  async #answers(reads = false): Promise<void> {
    await this.frozen;
    if (!this.follows) return;
    const { leader } = this.follows;
    if (reads && leader === "") return;
    const metadata: Record<string, string> = leader === "" ? {} : { leader };
    throw unavailable("this scheduler does not lead", { reason: "NOT_LEADING", metadata });
  }

  #fail(): void {
    const failure = this.failures.shift();
    if (failure) throw failure;
  }

  #submit(submission: Submission): SubmitJobsResult {
    this.submissions.push(submission);
    const told = this.onSubmit?.(submission);
    if (told) return told;
    const { jobId, request, type } = submission;
    const known = this.jobs.get(jobId);
    const job =
      known ??
      Job.fromPartial({
        jobId,
        type,
        status: JobStatus.JOB_STATUS_PENDING,
        revision: 1n,
        libraryId: request?.libraryId ?? "",
        requestId: request?.requestId ?? "",
        itemCount: submission.itemCount,
        payloadBytes: submission.payloadBytes,
      });
    this.jobs.set(jobId, job);
    return { outcome: { $case: "job", value: job } };
  }
}
