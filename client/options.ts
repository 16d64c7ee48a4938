import type { ClientOptions } from "@grpc/grpc-js";
import type { DeepPartial, JobFilter, SubmitJobRequest } from "../proto/gen/arrwdb/v1/jobs.ts";
import type { SearchRequest } from "../proto/gen/arrwdb/v1/libraries.ts";
import type { AccessOptions } from "./access.ts";
import type { CallSettings } from "./calls.ts";

export interface ArrwClientOptions extends AccessOptions {
  /** host:port of the gateway; default "127.0.0.1:50051". */
  readonly address?: string;
  /** Time for a call with its repetitions; default 30,000. Imports have an hour, watches no bound of their own. */
  readonly timeoutMs?: number;
  /**
   * Called when `get`, `list` or `stats` was answered while no scheduler led: as of that sequence of the journal, what
   * was acknowledged last may be missing.
   */
  readonly onStale?: (sequence: bigint) => void;
}

/** How a job is run, as in SubmitJobRequest. */
export type JobOptions = Pick<
  DeepPartial<SubmitJobRequest>,
  "runAt" | "retryPolicy" | "executionTimeout" | "totalTimeout" | "concurrencyKey" | "concurrencyLimit"
>;

/** What every job may be submitted with. */
export interface SubmitOptions extends CallSettings, JobOptions {
  /** Idempotency key; default: one of its own. With the same key and input again there is still one job. */
  readonly requestId?: string;
  /** 0..100; default 3. */
  readonly maxRetries?: number;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface RetryOptions extends CallSettings {
  /** Go on from the last checkpoint instead of from the start. Default false. */
  readonly fromCheckpoint?: boolean;
  /** Only the items that failed, of a batch_import or batch_delete; not with `fromCheckpoint`. Default false. */
  readonly failedItemsOnly?: boolean;
  /** Revision of the ended job that is to run again: when it has gone on since, it is left alone. Default: as it is now. */
  readonly endedRevision?: bigint;
}

/** Jobs to change: those that the filter matches. */
export interface WhichJobs {
  readonly filter?: DeepPartial<JobFilter>;
  /** Needed for a filter without a condition. */
  readonly all?: boolean;
  /** 1..10,000; default 1,000. */
  readonly limit?: number;
}

export interface ImportOptions extends SubmitOptions {
  /** Characters of a chunk at most, 1..100,000; default 1,000. */
  readonly chunkSize?: number;
  /** Characters that a chunk repeats of the one before, 0..chunkSize - 1; default 100, at most half the chunkSize. */
  readonly chunkOverlap?: number;
  /** Called with the number of documents sent so far. */
  readonly onSent?: (documents: number) => void;
}

export interface ExportOptions extends SubmitOptions {
  /** Default json: an array of documents. ndjson: one a line, what an import takes. csv: a row for each chunk. */
  readonly format?: "json" | "ndjson" | "csv";
  /** With the chunks' vectors. Default false. */
  readonly includeEmbeddings?: boolean;
  /** Default false. */
  readonly gzip?: boolean;
}

/** A SearchRequest without library and query; `k` defaults to 10. */
export type SearchOptions = Omit<DeepPartial<SearchRequest>, "libraryId" | "query">;
/** A text, or a vector as long as the library's dimensions. */
export type SearchQuery = string | readonly number[] | Float32Array;

export const DEFAULT_ADDRESS = "127.0.0.1:50051";
export const DEFAULT_TIMEOUT_MS = 30_000;
export const IMPORT_TIMEOUT_MS = 3_600_000;
export const DEFAULT_K = 10;

const MESSAGE_BYTES = 64 * 1024 * 1024;

export const CHANNEL_OPTIONS: ClientOptions = {
  "grpc.max_receive_message_length": MESSAGE_BYTES,
  "grpc.max_send_message_length": MESSAGE_BYTES,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.min_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 5_000,
  "grpc.use_local_subchannel_pool": 1,
};
