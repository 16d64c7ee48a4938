import { randomUUID } from "node:crypto";
import {
  CancelJobsRequest,
  type DeepPartial,
  DeleteJobsRequest,
  type GetQueueStatsResponse,
  type Job,
  type JobItem,
  ListJobsRequest,
  type ListJobsResponse,
  RetryJobsRequest,
  SubmitJobRequest,
  type SubmitJobsResult,
} from "../proto/gen/arrwdb/v1/jobs.ts";
import { QueueServiceClient } from "../proto/gen/arrwdb/v1/queues.ts";
import { type CallSettings, goneMeanwhile, present, repeatedly, unary } from "./calls.ts";
import { type DownloadOptions, downloadExport, type ExportPiece, exportRequest } from "./download.ts";
import { type DocumentSource, importStream } from "./import-stream.ts";
import {
  optimizeRequest,
  type RebuildOptions,
  type RegenerateOptions,
  rebuildRequest,
  regenerateRequest,
} from "./index-jobs.ts";
import { deleteRequest, type ItemsOptions, jobItems, type WhichDocuments } from "./items.ts";
import { jobRequest } from "./job-request.ts";
import { LibraryCalls } from "./library-calls.ts";
import { jobLogs, type LogLine, type LogsOptions } from "./logs.ts";
import {
  type ArrwClientOptions,
  type ExportOptions,
  IMPORT_TIMEOUT_MS,
  type ImportOptions,
  type RetryOptions,
  type SubmitOptions,
  type WhichJobs,
} from "./options.ts";
import { pages } from "./pages.ts";
import { QueueCalls } from "./queue-calls.ts";
import { isTerminal, type WatchOptions, watchJob } from "./watch.ts";
import { type JobEvent, type WatchJobsOptions, watchJobs } from "./watch-jobs.ts";

/**
 * Libraries and jobs of an arrwDB. Every call has a deadline and throws ClientError; those that can be repeated
 * without harm are, on UNAVAILABLE, until their deadline: all but an import, whose source can be read only once, and
 * retryJobs. So are calls that are refused by a limit which says when to ask again (RESOURCE_EXHAUSTED with RetryInfo).
 * Libraries are named by id or by name. One client serves any number of calls at a time; close it at the end.
 */
export class ArrwClient extends LibraryCalls {
  /** Pauses, limits and workers, for operators. */
  readonly queues: QueueCalls;
  readonly #onStale: (sequence: bigint) => void;

  constructor(options: ArrwClientOptions = {}) {
    super(options);
    this.#onStale = options.onStale ?? (() => undefined);
    const stub = new QueueServiceClient(this.address, this.credentials, this.stubOptions);
    this.queues = new QueueCalls(stub, (settings) => this.deadline(settings));
  }

  /** Durable when it returns; without a `requestId` it gets one, so that its repetitions make one job. */
  async submit(request: DeepPartial<SubmitJobRequest>, settings: CallSettings = {}): Promise<Job> {
    const stub = this.jobStub;
    const { job } = await repeatedly(stub, stub.submitJob, identified(request), this.deadline(settings));
    return present(job, "job");
  }

  /** Up to 10,000 jobs in one call, each with its own outcome, in order. */
  async submitAll(
    requests: readonly DeepPartial<SubmitJobRequest>[],
    settings: CallSettings = {},
  ): Promise<SubmitJobsResult[]> {
    const message = { requests: requests.map(identified) };
    const stub = this.jobStub;
    return (await repeatedly(stub, stub.submitJobs, message, this.deadline(settings))).results;
  }

  /**
   * A batch_import of any size, streamed from its source as fast as the server takes it. `timeoutMs` defaults to an
   * hour. Nothing is submitted when it throws, but for UNAVAILABLE and DEADLINE_EXCEEDED, where that isn't known:
   * import again with the same `requestId`.
   * @throws ClientError, or what the source threw
   */
  importDocuments(libraryId: string, documents: DocumentSource, options: ImportOptions = {}): Promise<Job> {
    const { chunkSize = 0, chunkOverlap, onSent, ...submit } = options;
    const { timeoutMs, signal } = submit;
    const value = { chunkSize, ...(chunkOverlap === undefined ? {} : { chunkOverlap }) };
    const header = identified(jobRequest(libraryId, submit, { $case: "batchImport", value }));
    const deadline = this.deadline({
      timeoutMs: timeoutMs ?? IMPORT_TIMEOUT_MS,
      ...(signal ? { signal } : {}),
    });
    return importStream(this.jobStub, header, documents, { ...deadline, onSent });
  }

  /** Builds the index anew, of another type or with other parameters if they are given: an index_rebuild. */
  rebuildIndex(libraryId: string, options: RebuildOptions = {}): Promise<Job> {
    return this.submit(rebuildRequest(libraryId, options), options);
  }

  /** Builds the index anew without removed vectors, if it has any: an index_optimize. */
  optimizeIndex(libraryId: string, options: SubmitOptions = {}): Promise<Job> {
    return this.submit(optimizeRequest(libraryId, options), options);
  }

  /** Embeds all chunks anew, with another provider, model or dimensions if they are given: a regenerate_embeddings. */
  regenerateEmbeddings(libraryId: string, options: RegenerateOptions = {}): Promise<Job> {
    return this.submit(regenerateRequest(libraryId, options), options);
  }

  /** A batch_export: all documents of the library, as they are when it starts, in a file that `downloadExport` brings. */
  exportLibrary(libraryId: string, options: ExportOptions = {}): Promise<Job> {
    const { timeoutMs, signal } = options;
    const settings = { ...(timeoutMs ? { timeoutMs } : {}), ...(signal ? { signal } : {}) };
    return this.submit(exportRequest(libraryId, options), settings);
  }

  /**
   * The file of a completed batch_export, piece by piece, as fast as it is read. When the connection or a service breaks
   * it goes on with the next byte. The job's result has its sha256.
   * @throws ClientError FAILED_PRECONDITION, reason EXPORT_EXPIRED: it is no longer kept; OUT_OF_RANGE: the offset is
   * behind its end
   */
  downloadExport(jobId: string, options: DownloadOptions = {}): AsyncGenerator<ExportPiece> {
    return downloadExport(this.jobStub, jobId, options);
  }

  /** Removes documents by id or by filter: a batch_delete. Ids that aren't there are among its failed items. */
  deleteDocuments(libraryId: string, which: WhichDocuments, options: SubmitOptions = {}): Promise<Job> {
    return this.submit(deleteRequest(libraryId, which, options), options);
  }

  /**
   * What became of each document of a batch_import or batch_delete, by position, fetched as they are read; of a running
   * job those that are known. `timeoutMs` is for each page.
   * @throws ClientError FAILED_PRECONDITION, reason NO_ITEMS: the job's type has none
   */
  jobItems(jobId: string, options: ItemsOptions = {}): AsyncGenerator<JobItem> {
    return jobItems(this.jobStub, jobId, options.outcome ?? "", () => this.deadline(options));
  }

  /** With its latest progress. */
  async get(jobId: string, settings: CallSettings = {}): Promise<Job> {
    const stub = this.jobStub;
    const reply = await repeatedly(stub, stub.getJob, { jobId }, this.deadline(settings));
    this.#fresh(reply.staleSequence);
    return present(reply.job, "job");
  }

  /** A page, newest first. */
  async list(
    request: DeepPartial<ListJobsRequest> = {},
    settings: CallSettings = {},
  ): Promise<ListJobsResponse> {
    const stub = this.jobStub;
    const message = ListJobsRequest.fromPartial(request);
    const reply = await repeatedly(stub, stub.listJobs, message, this.deadline(settings));
    this.#fresh(reply.staleSequence);
    return reply;
  }

  /** All that pass the filter, newest first, fetched as they are read. */
  jobs(
    filter: DeepPartial<ListJobsRequest["filter"]> = {},
    settings: CallSettings = {},
  ): AsyncGenerator<Job> {
    return pages(async (pageToken) => {
      const page = await this.list({ filter, pageSize: 1_000, pageToken }, settings);
      return { items: page.jobs, nextPageToken: page.nextPageToken };
    });
  }

  /** CANCELLED, or RUNNING with cancelRequested until its handler has stopped. */
  async cancel(jobId: string, options: CallSettings & { readonly reason?: string } = {}): Promise<Job> {
    const stub = this.jobStub;
    const request = { jobId, reason: options.reason ?? "" };
    const { job } = await repeatedly(stub, stub.cancelJob, request, this.deadline(options));
    return present(job, "job");
  }

  /**
   * Runs an ended job again; once, however often the call has to be repeated.
   * @throws ClientError FAILED_PRECONDITION it has not ended, or none of its items failed
   */
  async retry(jobId: string, options: RetryOptions = {}): Promise<Job> {
    const stub = this.jobStub;
    const deadline = this.deadline(options);
    let endedRevision = options.endedRevision ?? 0n;
    if (endedRevision === 0n) {
      const { job, staleSequence } = await repeatedly(stub, stub.getJob, { jobId }, deadline);
      if (job && isTerminal(job) && staleSequence === 0n) endedRevision = job.revision;
    }
    const { fromCheckpoint = false, failedItemsOnly = false } = options;
    const request = { jobId, fromCheckpoint, failedItemsOnly, endedRevision };
    return present((await repeatedly(stub, stub.retryJob, request, deadline)).job, "job");
  }

  /** With its input, its log and its request id. @throws ClientError FAILED_PRECONDITION it has not ended */
  async delete(jobId: string, settings: CallSettings = {}): Promise<void> {
    const stub = this.jobStub;
    await repeatedly(stub, stub.deleteJob, { jobId }, this.deadline(settings), goneMeanwhile);
  }

  /** Newest first, up to `limit`; when `hasMore` is set, call again. Repeated, it may change more than the limit. */
  cancelJobs(which: WhichJobs, options: CallSettings & { readonly reason?: string } = {}) {
    const stub = this.jobStub;
    const request = CancelJobsRequest.fromPartial({ ...which, reason: options.reason ?? "" });
    return repeatedly(stub, stub.cancelJobs, request, this.deadline(options));
  }

  /** As cancelJobs, but never repeated: after UNAVAILABLE some of them may run again already. */
  retryJobs(which: WhichJobs, options: CallSettings & { readonly fromCheckpoint?: boolean } = {}) {
    const stub = this.jobStub;
    const fromCheckpoint = options.fromCheckpoint ?? false;
    const request = RetryJobsRequest.fromPartial({ ...which, fromCheckpoint });
    return unary(stub, stub.retryJobs, request, this.deadline(options));
  }

  /** As cancelJobs. */
  deleteJobs(which: WhichJobs, settings: CallSettings = {}) {
    const stub = this.jobStub;
    const request = DeleteJobsRequest.fromPartial(which);
    return repeatedly(stub, stub.deleteJobs, request, this.deadline(settings));
  }

  /**
   * The job as it is, then every change, last the terminal one. When the connection or a service breaks the watch
   * goes on behind the last revision: revisions never go down, no transition that is the job's latest is missed.
   */
  watch(jobId: string, options: WatchOptions = {}): AsyncGenerator<Job> {
    return watchJob(this.jobStub, jobId, options);
  }

  /** The job once it is COMPLETED, FAILED or CANCELLED; it is for the caller to look which. */
  async wait(jobId: string, options: Omit<WatchOptions, "afterRevision"> = {}): Promise<Job> {
    let last: Job | undefined;
    for await (const job of this.watch(jobId, options)) last = job;
    return last ?? this.get(jobId);
  }

  /**
   * What the job's attempts logged, oldest first: the newest 1,000 lines or 256 KiB; with `follow` then new ones until
   * the job has ended. When the connection or a service breaks it goes on behind the last line, none comes twice.
   * Time: the client's `timeoutMs`, when it follows none.
   */
  jobLogs(jobId: string, options: LogsOptions = {}): AsyncGenerator<LogLine> {
    const bound = options.follow ? {} : { timeoutMs: this.timeoutMs };
    return jobLogs(this.jobStub, jobId, { ...bound, ...options });
  }

  /**
   * Every transition of the jobs that match, in order, without a gap; never ends by itself. When the connection or a
   * service breaks it goes on behind the last event.
   * @throws ClientError OUT_OF_RANGE, reason CURSOR_EXPIRED: what follows the cursor is no longer held;
   * `metadata.oldest` is a cursor that is
   */
  watchJobs(options: WatchJobsOptions = {}): AsyncGenerator<JobEvent> {
    const { signal } = options;
    const settings = signal ? { signal } : {};
    return watchJobs(this.jobStub, options, async () => (await this.list({ pageSize: 1 }, settings)).cursor);
  }

  async stats(settings: CallSettings = {}): Promise<GetQueueStatsResponse> {
    const stub = this.jobStub;
    const reply = await repeatedly(stub, stub.getQueueStats, {}, this.deadline(settings));
    this.#fresh(reply.staleSequence);
    return reply;
  }

  #fresh(staleSequence: bigint): void {
    if (staleSequence !== 0n) this.#onStale(staleSequence);
  }
}

function identified(request: DeepPartial<SubmitJobRequest>): SubmitJobRequest {
  return SubmitJobRequest.fromPartial({ ...request, requestId: request.requestId || randomUUID() });
}
