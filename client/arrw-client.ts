import { randomUUID } from "node:crypto";
import { credentials } from "@grpc/grpc-js";
import { v7 as uuidv7 } from "uuid";
import type { Document, Vector } from "../proto/gen/arrwdb/v1/document.ts";
import {
  type DeepPartial,
  type GetQueueStatsResponse,
  type Job,
  JobServiceClient,
  ListJobsRequest,
  type ListJobsResponse,
  SubmitJobRequest,
  type SubmitJobsResult,
} from "../proto/gen/arrwdb/v1/jobs.ts";
import {
  CreateLibraryRequest,
  type Library,
  LibraryServiceClient,
  ListDocumentsRequest,
  type ListDocumentsResponse,
  type ListLibrariesResponse,
  SearchRequest,
  type SearchResponse,
} from "../proto/gen/arrwdb/v1/libraries.ts";
import { type CallSettings, connected, type Deadline, repeatedly } from "./calls.ts";
import { ClientError } from "./error.ts";
import { type DocumentSource, importStream } from "./import-stream.ts";
import { jobLogs, type LogLine, type LogsOptions } from "./logs.ts";
import {
  type ArrwClientOptions,
  CHANNEL_OPTIONS,
  DEFAULT_ADDRESS,
  DEFAULT_K,
  DEFAULT_TIMEOUT_MS,
  IMPORT_TIMEOUT_MS,
  type ImportOptions,
  type SearchOptions,
  type SearchQuery,
} from "./options.ts";
import { pages } from "./pages.ts";
import { type WatchOptions, watchJob } from "./watch.ts";
import { type JobEvent, type WatchJobsOptions, watchJobs } from "./watch-jobs.ts";

/**
 * Libraries and jobs of an arrwDB. Every call has a deadline and throws ClientError; those that can be repeated
 * without harm are, on UNAVAILABLE, until their deadline: all but an import, whose source can be read only once.
 * Libraries are named by id or by name. One client serves any number of calls at a time; close it at the end.
 */
export class ArrwClient {
  readonly address: string;
  readonly #timeoutMs: number;
  readonly #jobs: JobServiceClient;
  readonly #libraries: LibraryServiceClient;

  constructor(options: ArrwClientOptions = {}) {
    this.address = options.address ?? DEFAULT_ADDRESS;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const channelCredentials = options.credentials ?? credentials.createInsecure();
    this.#jobs = new JobServiceClient(this.address, channelCredentials, CHANNEL_OPTIONS);
    this.#libraries = new LibraryServiceClient(this.address, channelCredentials, {
      ...CHANNEL_OPTIONS,
      channelOverride: this.#jobs.getChannel(),
    });
  }

  /** Not needed before a call. @throws ClientError UNAVAILABLE as soon as nothing listens there */
  connect(settings: Pick<CallSettings, "timeoutMs"> = {}): Promise<void> {
    return connected(this.#jobs, this.address, this.#deadline(settings).deadlineMs);
  }

  /** Open calls end with CANCELLED. */
  close(): void {
    this.#jobs.close();
  }

  /** The same name again with the same configuration: ALREADY_EXISTS, unless the same `libraryId` is given. */
  async createLibrary(
    request: DeepPartial<CreateLibraryRequest>,
    settings: CallSettings = {},
  ): Promise<Library> {
    // An id of our own makes the call repeatable.
    const message = CreateLibraryRequest.fromPartial({
      ...request,
      libraryId: request.libraryId || uuidv7(),
    });
    const stub = this.#libraries;
    const { library } = await repeatedly(stub, stub.createLibrary, message, this.#deadline(settings));
    return present(library, "library");
  }

  async getLibrary(libraryId: string, settings: CallSettings = {}): Promise<Library> {
    const stub = this.#libraries;
    const { library } = await repeatedly(stub, stub.getLibrary, { libraryId }, this.#deadline(settings));
    return present(library, "library");
  }

  /** A page, by name: 50 unless `pageSize` (at most 1,000) says otherwise. */
  listLibraries(
    page: { readonly pageSize?: number; readonly pageToken?: string } = {},
    settings: CallSettings = {},
  ): Promise<ListLibrariesResponse> {
    const request = { pageSize: page.pageSize ?? 0, pageToken: page.pageToken ?? "" };
    return repeatedly(this.#libraries, this.#libraries.listLibraries, request, this.#deadline(settings));
  }

  /** All of them, by name, fetched as they are read. */
  libraries(settings: CallSettings = {}): AsyncGenerator<Library> {
    return pages(async (pageToken) => {
      const { libraries, nextPageToken } = await this.listLibraries({ pageSize: 1_000, pageToken }, settings);
      return { items: libraries, nextPageToken };
    });
  }

  /** With all its documents; its active jobs fail. */
  async deleteLibrary(libraryId: string, settings: CallSettings = {}): Promise<void> {
    const stub = this.#libraries;
    await repeatedly(stub, stub.deleteLibrary, { libraryId }, this.#deadline(settings), goneMeanwhile);
  }

  /** `texts` are its chunks, in order. */
  async getDocument(
    libraryId: string,
    documentId: string,
    options: CallSettings & { readonly includeVectors?: boolean } = {},
  ): Promise<Document> {
    const request = { libraryId, documentId, includeVectors: options.includeVectors ?? false };
    const stub = this.#libraries;
    const { document } = await repeatedly(stub, stub.getDocument, request, this.#deadline(options));
    return present(document, "document");
  }

  /** A page, by id. */
  listDocuments(
    request: DeepPartial<ListDocumentsRequest>,
    settings: CallSettings = {},
  ): Promise<ListDocumentsResponse> {
    const message = ListDocumentsRequest.fromPartial(request);
    return repeatedly(this.#libraries, this.#libraries.listDocuments, message, this.#deadline(settings));
  }

  /** All that pass the filter, by id, fetched as they are read. */
  documents(
    libraryId: string,
    request: Omit<DeepPartial<ListDocumentsRequest>, "libraryId" | "pageToken"> = {},
    settings: CallSettings = {},
  ): AsyncGenerator<Document> {
    return pages(async (pageToken) => {
      const page = await this.listDocuments({ ...request, libraryId, pageToken }, settings);
      return { items: page.documents, nextPageToken: page.nextPageToken };
    });
  }

  async deleteDocument(libraryId: string, documentId: string, settings: CallSettings = {}): Promise<void> {
    const stub = this.#libraries;
    const request = { libraryId, documentId };
    await repeatedly(stub, stub.deleteDocument, request, this.#deadline(settings), goneMeanwhile);
  }

  /** Best first. */
  search(
    libraryId: string,
    query: SearchQuery,
    options: SearchOptions = {},
    settings: CallSettings = {},
  ): Promise<SearchResponse> {
    const asked: NonNullable<SearchRequest["query"]> =
      typeof query === "string"
        ? { $case: "text", value: query }
        : { $case: "vector", value: toVector(query) };
    const request = SearchRequest.fromPartial({ k: DEFAULT_K, ...options, libraryId });
    request.query = asked;
    return repeatedly(this.#libraries, this.#libraries.search, request, this.#deadline(settings));
  }

  /** Durable when it returns; without a `requestId` it gets one, so that its repetitions make one job. */
  async submit(request: DeepPartial<SubmitJobRequest>, settings: CallSettings = {}): Promise<Job> {
    const stub = this.#jobs;
    const { job } = await repeatedly(stub, stub.submitJob, identified(request), this.#deadline(settings));
    return present(job, "job");
  }

  /** Up to 10,000 jobs in one call, each with its own outcome, in order. */
  async submitAll(
    requests: readonly DeepPartial<SubmitJobRequest>[],
    settings: CallSettings = {},
  ): Promise<SubmitJobsResult[]> {
    const message = { requests: requests.map(identified) };
    const stub = this.#jobs;
    return (await repeatedly(stub, stub.submitJobs, message, this.#deadline(settings))).results;
  }

  /**
   * A batch_import of any size, streamed from its source as fast as the server takes it. `timeoutMs` defaults to an
   * hour. Nothing is submitted when it throws, but for UNAVAILABLE and DEADLINE_EXCEEDED, where that isn't known:
   * import again with the same `requestId`.
   * @throws ClientError, or what the source threw
   */
  importDocuments(libraryId: string, documents: DocumentSource, options: ImportOptions = {}): Promise<Job> {
    const { requestId, chunkSize = 0, chunkOverlap, maxRetries, labels = {}, onSent } = options;
    const header = identified({
      ...(requestId === undefined ? {} : { requestId }),
      ...(maxRetries === undefined ? {} : { maxRetries }),
      libraryId,
      labels: { ...labels },
      spec: {
        spec: {
          $case: "batchImport",
          value: { chunkSize, ...(chunkOverlap === undefined ? {} : { chunkOverlap }) },
        },
      },
    });
    const deadline = this.#deadline({ timeoutMs: IMPORT_TIMEOUT_MS, ...options });
    return importStream(this.#jobs, header, documents, { ...deadline, onSent });
  }

  /** With its latest progress. */
  async get(jobId: string, settings: CallSettings = {}): Promise<Job> {
    const stub = this.#jobs;
    const { job } = await repeatedly(stub, stub.getJob, { jobId }, this.#deadline(settings));
    return present(job, "job");
  }

  /** A page, newest first. */
  list(request: DeepPartial<ListJobsRequest> = {}, settings: CallSettings = {}): Promise<ListJobsResponse> {
    const message = ListJobsRequest.fromPartial(request);
    return repeatedly(this.#jobs, this.#jobs.listJobs, message, this.#deadline(settings));
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
    const stub = this.#jobs;
    const request = { jobId, reason: options.reason ?? "" };
    const { job } = await repeatedly(stub, stub.cancelJob, request, this.#deadline(options));
    return present(job, "job");
  }

  /**
   * The job as it is, then every change, last the terminal one. When the connection or a service breaks the watch
   * goes on behind the last revision: revisions never go down, no transition that is the job's latest is missed.
   */
  watch(jobId: string, options: WatchOptions = {}): AsyncGenerator<Job> {
    return watchJob(this.#jobs, jobId, options);
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
    const bound = options.follow ? {} : { timeoutMs: this.#timeoutMs };
    return jobLogs(this.#jobs, jobId, { ...bound, ...options });
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
    return watchJobs(this.#jobs, options, async () => (await this.list({ pageSize: 1 }, settings)).cursor);
  }

  stats(settings: CallSettings = {}): Promise<GetQueueStatsResponse> {
    return repeatedly(this.#jobs, this.#jobs.getQueueStats, {}, this.#deadline(settings));
  }

  #deadline({ timeoutMs, signal }: CallSettings): Deadline {
    return { deadlineMs: Date.now() + (timeoutMs ?? this.#timeoutMs), signal };
  }
}

function identified(request: DeepPartial<SubmitJobRequest>): SubmitJobRequest {
  return SubmitJobRequest.fromPartial({ ...request, requestId: request.requestId || randomUUID() });
}

/** A deletion whose reply was lost finds nothing to delete when it is repeated. */
function goneMeanwhile(error: ClientError, attempt: number): object | undefined {
  return attempt > 1 && error.code === "NOT_FOUND" ? {} : undefined;
}

function toVector(values: readonly number[] | Float32Array): Vector {
  const packed = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) packed.writeFloatLE(value, i * 4);
  return { values: [], packed };
}

function present<T>(message: T | undefined, what: string): T {
  if (message === undefined) throw new ClientError("INTERNAL", `the server answered without a ${what}`);
  return message;
}
