import type { JobProgress, JobResult, JobSpec } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Library } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { LogFields } from "./domain/log-line.ts";

/** What a job type needs to be run: a handler, added to the registry in main.ts. */

type Spec = NonNullable<JobSpec["spec"]>;
type Result = NonNullable<JobResult["result"]>;

/** Members that JobSpec and JobResult have in common: "echo", "batchImport", ... */
export type Kind = Spec["$case"] & Result["$case"];
export type SpecOf<K extends Kind> = Extract<Spec, { $case: K }>["value"];
export type ResultOf<K extends Kind> = Extract<Result, { $case: K }>["value"];

/** Runs the attempts of one job type. One instance serves all attempts, side by side. */
export interface Handler<K extends Kind = Kind> {
  /** The job's type as clients see it: "batch_import". */
  readonly type: string;
  /** The same name in the generated code of JobSpec and JobResult: "batchImport". */
  readonly kind: K;
  /**
   * Runs one attempt. Once `context.signal` is aborted it stops soon and throws the signal's reason, or throws
   * `Cancelled` (or returns it) with what it had done by then; work that is complete all the same is returned.
   * @throws ArrwError whose code says whether another attempt may help; anything else counts as INTERNAL, retryable.
   * `Snooze` to go on later
   */
  run(job: LeasedJob<K>, context: JobContext): HandlerReturn<K> | Promise<HandlerReturn<K>>;
}

export type HandlerReturn<K extends Kind> = ResultOf<K> | Cancelled<K>;

/** One attempt's input. */
export interface LeasedJob<K extends Kind> {
  readonly jobId: string;
  /** Unique over all attempts of all jobs. */
  readonly lease: bigint;
  /** 1-based; drains, snoozes and losses repeat it. */
  readonly attempt: number;
  /** Leases that the job had before this one. */
  readonly leasesBefore: number;
  /** When the job was submitted. */
  readonly createdAt: Date;
  /** 1 for the job as it was submitted; each RetryJob adds one. */
  readonly run: number;
  /** This run is for the items alone that failed in the runs before. */
  readonly failedItemsOnly: boolean;
  readonly spec: SpecOf<K>;
  /** Object that holds the input, "" = none. */
  readonly payloadObject: string;
  /** Items in the input. */
  readonly itemCount: number;
  /** What the job's last checkpoint saved; empty = from the beginning. */
  readonly checkpoint: Uint8Array;
  /** The library it works on, as it was when the lease began. Undefined for jobs without one. */
  readonly library: LeasedLibrary | undefined;
  /** The same of a job that has several, without those that are gone; `library` is undefined then. */
  readonly libraries: readonly LeasedLibrary[];
}

export interface LeasedLibrary {
  readonly library: Library;
  /** What upserts must carry. */
  readonly embeddingId: string;
}

export interface ProgressUpdate {
  readonly current: number;
  /** 0 = unknown, the default. */
  readonly total?: number;
  readonly message?: string;
}

/** Takes a message, with values that belong to it before it: `info({ batch: 3 }, "embedded")`. */
export interface LogMethod {
  (message: string): void;
  (fields: LogFields, message: string): void;
}

/**
 * The job's log, which its users read with GetJobLogs; lines go to the process's log too. It never waits and never throws.
 * Bounds: 4 KiB a line; 1,000 lines or 256 KiB at once, then 100 lines or 16 KiB a second, a tenth of which is kept for
 * warnings and errors. Readers get the newest 1,000 lines or 256 KiB of a job. Lines below ARRW_JOB_LOG_LEVEL (info)
 * aren't kept.
 */
export interface JobLog {
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;
}

/** What a handler may do while it runs. */
export interface JobContext {
  /** Aborted with a `Stopped` when the attempt has to end: cancel, timeout, drain, or the lease is lost. */
  readonly signal: AbortSignal;
  readonly log: JobLog;
  /** Reports progress; cheap, call it as often as you like: watchers see at most 10 reports a second. */
  progress(update: ProgressUpdate): void;
  /**
   * Saves where a later attempt goes on, with the progress reported last; resolves when that is durable.
   * @param data at most 16 KiB @throws Stopped when the attempt has to end; data given before its end are saved all the same
   */
  checkpoint(data: Uint8Array): Promise<void>;
}

/** Thrown or returned by a handler that stopped early, with what it had done by then. */
export class Cancelled<K extends Kind = Kind> extends Error {
  readonly partialResult: ResultOf<K> | undefined;

  constructor(partialResult?: ResultOf<K>) {
    super("the job stopped before its end");
    this.name = "Cancelled";
    this.partialResult = partialResult;
  }
}

const MAX_SNOOZE_MS = 30 * 24 * 3_600_000;

/**
 * Thrown by a handler that can't go on yet: the lease is given back, and the job goes on after the delay from its last
 * checkpoint. Neither a failure nor an attempt: it may snooze as often as it likes, within the job's total timeout.
 */
export class Snooze extends Error {
  readonly delayMs: number;

  /** @param delayMs 0..30 days @throws RangeError */
  constructor(delayMs: number) {
    super("the job asks to go on later");
    if (!(delayMs >= 0 && delayMs <= MAX_SNOOZE_MS)) throw new RangeError(`0..30 days; got ${delayMs} ms`);
    this.name = "Snooze";
    this.delayMs = delayMs;
  }
}

export function toJobProgress({ current, total = 0, message = "" }: ProgressUpdate): JobProgress {
  const percentage = total > 0 ? Math.min(100, (100 * current) / total) : 0;
  return { current: BigInt(current), total: BigInt(total), message, percentage };
}
