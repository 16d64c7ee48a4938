import { Metadata } from "@grpc/grpc-js";
import { type Job, type JobServiceClient, JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { backoffMs, isTransient, pause } from "./calls.ts";
import { type ClientError, cancelled, toClientError } from "./error.ts";

export interface WatchOptions {
  /** Revision the caller has already; the first job is newer. Default 0: the job as it is comes first. */
  readonly afterRevision?: bigint;
  /** Time for the whole watch; default: none. */
  readonly timeoutMs?: number;
  /** How long it tries to go on while the system can't be reached; default 60,000. */
  readonly reconnectTimeoutMs?: number;
  /** Called when the stream broke and is resumed. */
  readonly onInterrupted?: (error: ClientError) => void;
  readonly signal?: AbortSignal;
}

/** COMPLETED, FAILED or CANCELLED. */
export function isTerminal(job: Pick<Job, "status">): boolean {
  return job.status >= JobStatus.JOB_STATUS_COMPLETED;
}

/** One stream's life, so that also this call has a deadline; it is resumed after. */
const STREAM_MS = 3_600_000;
const RECONNECT_MS = 60_000;

/** See ArrwClient.watch. */
export async function* watchJob(
  stub: JobServiceClient,
  jobId: string,
  options: WatchOptions,
): AsyncGenerator<Job> {
  const endsMs = Date.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  let afterRevision = options.afterRevision ?? 0n;
  let failures = 0;
  let lostAtMs = 0;
  for (;;) {
    let received = false;
    const streamEndsMs = Math.min(endsMs, Date.now() + STREAM_MS);
    try {
      for await (const job of oneStream(stub, jobId, afterRevision, streamEndsMs, options.signal)) {
        received = true;
        failures = 0;
        afterRevision = job.revision;
        yield job;
        if (isTerminal(job)) return;
      }
      return;
    } catch (thrown) {
      const error = toClientError(thrown);
      if (!resumable(error, received, endsMs, options.signal)) throw error;
      failures += 1;
      if (failures === 1) lostAtMs = Date.now();
      const waitMs = backoffMs(failures, error);
      const patienceMs = lostAtMs + (options.reconnectTimeoutMs ?? RECONNECT_MS);
      if (Date.now() + waitMs > Math.min(endsMs, patienceMs)) throw error;
      options.onInterrupted?.(error);
      await pause(waitMs, options.signal);
    }
  }
}

function resumable(
  error: ClientError,
  received: boolean,
  endsMs: number,
  signal: AbortSignal | undefined,
): boolean {
  if (error.code === "DEADLINE_EXCEEDED") return Date.now() < endsMs;
  // The stream was too far behind, and has moved on since.
  if (error.code === "RESOURCE_EXHAUSTED") return received;
  return isTransient(error, signal);
}

/** Leaving the loop cancels the call. @throws ClientError */
async function* oneStream(
  stub: JobServiceClient,
  jobId: string,
  afterRevision: bigint,
  deadline: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Job> {
  if (signal?.aborted) throw cancelled(signal);
  const stream = stub.watchJob({ jobId, afterRevision }, new Metadata(), { deadline });
  const onAbort = (): void => stream.cancel();
  signal?.addEventListener("abort", onAbort, { once: true });
  // The iteration reports the error; one after its end has no one to tell.
  stream.on("error", () => undefined);
  try {
    for await (const { job } of stream as AsyncIterable<{ job: Job | undefined }>) if (job) yield job;
  } catch (error) {
    throw signal?.aborted ? cancelled(signal) : toClientError(error);
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stream.cancel();
  }
}
