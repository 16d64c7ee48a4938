import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { Metadata } from "@grpc/grpc-js";
import { fromServiceError } from "../../../client/error.ts";
import { unary } from "../../../platform/grpc/client.ts";
import {
  type JobServiceClient,
  ListJobsRequest,
  type WatchJobResponse,
  type WatchJobsResponse,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { isTerminal, type JobView, type WatchedEvent } from "../history.ts";
import { clockMs, type Recorder } from "../recorder.ts";
import { viewOf } from "../views.ts";

const STREAM_MS = 600_000;
const RESUME_MS = 150;
const CURSOR_TIMEOUT_MS = 20_000;

interface Ended {
  readonly end: string;
}

/** The watches of a run: WatchJob of single jobs and one WatchJobs of all, each resumed when it breaks. */
export class Watching {
  readonly #jobs: JobServiceClient;
  readonly #recorder: Recorder;
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<void>>();
  /** WatchJobs is not in this version. */
  #unavailable = false;
  #events = 0;

  constructor(jobs: JobServiceClient, recorder: Recorder) {
    this.#jobs = jobs;
    this.#recorder = recorder;
    setMaxListeners(0, this.#stopping.signal);
  }

  /** Events of WatchJobs so far; undefined = the server has no WatchJobs. */
  get events(): number | undefined {
    return this.#unavailable ? undefined : this.#events;
  }

  watch(jobId: string): void {
    this.#track(this.#watchJob(jobId));
  }

  /** From the journal's present end on; resolves when that end is known. */
  async watchAll(): Promise<void> {
    const request = ListJobsRequest.fromPartial({ pageSize: 1 });
    const { cursor } = await unary(this.#jobs, this.#jobs.listJobs, request, {
      timeoutMs: CURSOR_TIMEOUT_MS,
    });
    this.#track(this.#watchJobs(cursor));
  }

  /** Ends all of them and records what they have. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#running);
  }

  #track(run: Promise<void>): void {
    const running = run.finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  async #watchJob(jobId: string): Promise<void> {
    let after = 0;
    while (!this.#stopping.signal.aborted) {
      const startMs = clockMs();
      const jobs: JobView[] = [];
      const stream = this.#jobs.watchJob({ jobId, afterRevision: BigInt(after) }, new Metadata(), deadline());
      const { end } = await this.#read<WatchJobResponse>(stream, ({ job }) => {
        if (job) jobs.push(viewOf(job));
      });
      const entry = {
        kind: "watch",
        jobId,
        afterRevision: after,
        startMs,
        endMs: clockMs(),
        jobs,
        end,
      } as const;
      this.#recorder.add(entry);
      after = jobs.at(-1)?.revision ?? after;
      const last = jobs.at(-1);
      if (end === "OK" || end === "NOT_FOUND" || (last && isTerminal(last))) return;
      await sleep(RESUME_MS);
    }
  }

  async #watchJobs(cursor: string): Promise<void> {
    let after = cursor;
    while (!this.#stopping.signal.aborted) {
      const events: WatchedEvent[] = [];
      const request = { filter: undefined, afterCursor: after };
      const stream = this.#jobs.watchJobs(request, new Metadata(), deadline());
      const { end } = await this.#read<WatchJobsResponse>(stream, ({ cursor, event, at, job }) => {
        if (!job) return;
        const { jobId, revision, fingerprint } = viewOf(job);
        // A deletion shows the job as it was.
        const gone = event === "job.deleted";
        const shown = { revision, fingerprint: gone ? undefined : fingerprint };
        events.push({ cursor, event, atMs: at?.getTime() ?? 0, jobId, ...shown });
        this.#events += 1;
      });
      if (end === "UNIMPLEMENTED") {
        this.#unavailable = true;
        return;
      }
      this.#recorder.add({ kind: "events", afterCursor: after, events, end });
      after = events.at(-1)?.cursor ?? after;
      await sleep(RESUME_MS);
    }
  }

  /** Reads until the stream ends, or `stop` is called. */
  async #read<T>(
    stream: AsyncIterable<T> & { cancel(): void; on(event: "error", listener: () => void): unknown },
    take: (message: T) => void,
  ): Promise<Ended> {
    const onStop = (): void => stream.cancel();
    this.#stopping.signal.addEventListener("abort", onStop, { once: true });
    // The iteration reports the error; one after its end has no one to tell.
    stream.on("error", () => undefined);
    try {
      for await (const message of stream) take(message);
      return { end: "OK" };
    } catch (error) {
      if (this.#stopping.signal.aborted) return { end: "STOPPED" };
      return { end: fromServiceError(error as Parameters<typeof fromServiceError>[0]).code };
    } finally {
      this.#stopping.signal.removeEventListener("abort", onStop);
    }
  }
}

function deadline(): { deadline: number } {
  return { deadline: Date.now() + STREAM_MS };
}
