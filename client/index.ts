/** The client library of arrwDB: libraries, documents, search, and jobs that are submitted, watched and cancelled. */

export type {
  Condition,
  Document,
  EmbeddingConfig,
  Filter,
  IndexConfig,
  Vector,
} from "../proto/gen/arrwdb/v1/document.ts";
export {
  type GetQueueStatsResponse,
  type Job,
  type JobAttempt,
  type JobFilter,
  type JobItem,
  type JobProgress,
  JobStatus,
  type RetryPolicy,
  type SubmitJobRequest,
  type SubmitJobsResult,
} from "../proto/gen/arrwdb/v1/jobs.ts";
export type { Hit, Library, SearchResponse } from "../proto/gen/arrwdb/v1/libraries.ts";
export type { Queue, Worker } from "../proto/gen/arrwdb/v1/queues.ts";
export { type AccessOptions, type TlsOptions, tokenFromFile } from "./access.ts";
export { ArrwClient } from "./arrw-client.ts";
export type { CallSettings } from "./calls.ts";
export type { DownloadOptions, ExportPiece } from "./download.ts";
export { optionsFromEnvironment } from "./environment.ts";
export { ClientError, type ClientErrorCode, type Violation } from "./error.ts";
export type { DocumentInput, DocumentSource } from "./import-stream.ts";
export type { RebuildOptions, RegenerateOptions } from "./index-jobs.ts";
export type { ItemsOptions, WhichDocuments } from "./items.ts";
export type { LogLine, LogsOptions } from "./logs.ts";
export type {
  ArrwClientOptions,
  ExportOptions,
  ImportOptions,
  JobOptions,
  RetryOptions,
  SearchOptions,
  SearchQuery,
  SubmitOptions,
  WhichJobs,
} from "./options.ts";
export { QueueCalls } from "./queue-calls.ts";
export type { ResumeOptions } from "./resuming.ts";
export { statusName } from "./status-name.ts";
export { isTerminal, type WatchOptions } from "./watch.ts";
export type { JobEvent, WatchJobsOptions } from "./watch-jobs.ts";
export type { LibraryEvent, WatchLibraryOptions } from "./watch-library.ts";
