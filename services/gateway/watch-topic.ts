import { ArrwError, notFound } from "../../platform/errors.ts";
import { GetJobResponse, type Job, WatchJobResponse } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobProgressEvent } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { isNewerProgress, isTerminal, withKnownProgress } from "./domain/progress.ts";
import { WatchQueue } from "./domain/watch-queue.ts";

/** One job that is watched, and its watchers. A message is encoded once and sent to all of them. */

/** Transitions that may wait for a slow client. */
const MAX_WAITING = 1_000;

export class Watcher {
  readonly queue: WatchQueue<Buffer>;
  /** Why it ends once its queue is empty. */
  ended: ArrwError | undefined;
  #wake: (() => void) | undefined;

  constructor(afterRevision: bigint) {
    this.queue = new WatchQueue(MAX_WAITING, afterRevision);
  }

  end(error: ArrwError): void {
    this.ended ??= error;
    this.wake();
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** As the listener of its call's signal. */
  handleEvent(): void {
    this.wake();
  }

  /** Resolves at the next `wake`. */
  woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

/** The job as the scheduler has it, with its encoded WatchJobResponse. */
export interface Snapshot {
  readonly job: Job;
  readonly payload: Buffer;
}

export interface TopicOptions {
  readonly jobId: string;
  /** Encoded GetJobResponse. */
  readonly getJob: (jobId: string) => Promise<Buffer>;
  readonly onCoalesced: () => void;
  readonly onOverflow: () => void;
}

export class WatchTopic {
  readonly jobId: string;
  readonly watchers = new Set<Watcher>();
  readonly #options: TopicOptions;
  #latest: Job | undefined;
  /** Progress of a revision that the journal has not shown yet. */
  #early: JobProgressEvent | undefined;
  #reading: Promise<Snapshot> | undefined;
  #nextReading: Promise<Snapshot> | undefined;

  constructor(options: TopicOptions) {
    this.jobId = options.jobId;
    this.#options = options;
  }

  get revision(): bigint {
    return this.#latest?.revision ?? 0n;
  }

  /** The job as of now or later; those who ask while one read runs share the next. @throws ArrwError */
  read(): Promise<Snapshot> {
    if (!this.#reading) {
      this.#reading = this.#fetch().finally(() => {
        this.#reading = undefined;
      });
      return this.#reading;
    }
    this.#nextReading ??= this.#reading
      .then(() => undefined)
      .catch(() => undefined)
      .then(() => {
        this.#nextReading = undefined;
        return this.read();
      });
    return this.#nextReading;
  }

  /** A transition, or the newest state where transitions may have been missed. */
  onJob(received: Job): void {
    let job = received;
    if (!this.#latest || job.revision > this.#latest.revision) {
      job = withKnownProgress(job, this.#latest);
      const early = this.#early;
      if (
        early?.progress &&
        early.revision === job.revision &&
        isNewerProgress(early.progress, job.progress)
      ) {
        job = { ...job, progress: early.progress };
      }
      if (early && early.revision <= job.revision) this.#early = undefined;
      this.#latest = job;
    } else if (job.revision === this.#latest.revision) job = this.#latest;
    const { revision } = job;
    const waiting = [...this.watchers].filter(({ queue }) => queue.wants(revision));
    if (waiting.length === 0) return;
    const entry = { revision, terminal: isTerminal(job), payload: encode(job) };
    for (const watcher of waiting) {
      const offered = watcher.queue.offerTransition(entry);
      if (offered === "replaced") this.#options.onCoalesced();
      if (offered === "overflow") this.#overflow(watcher);
      watcher.wake();
    }
  }

  onProgress(event: JobProgressEvent): void {
    const { revision, progress } = event;
    if (!progress || revision < this.revision) return;
    if (!this.#latest || revision > this.#latest.revision) {
      this.#early = event;
      return;
    }
    if (isTerminal(this.#latest) || !isNewerProgress(progress, this.#latest.progress)) return;
    this.#latest = { ...this.#latest, progress };
    const entry = { revision, terminal: false, payload: encode(this.#latest) };
    for (const watcher of this.watchers) {
      const offered = watcher.queue.offerProgress(entry);
      if (offered === "replaced") this.#options.onCoalesced();
      if (offered !== "stale") watcher.wake();
    }
  }

  onDeleted(): void {
    for (const watcher of this.watchers) watcher.end(notFound("job", this.jobId));
  }

  #overflow(watcher: Watcher): void {
    if (watcher.ended) return;
    this.#options.onOverflow();
    watcher.end(tooSlow());
  }

  async #fetch(): Promise<Snapshot> {
    const payload = await this.#options.getJob(this.jobId);
    // GetJobResponse and WatchJobResponse have their job in the same field.
    const { job, staleSequence } = GetJobResponse.decode(payload);
    if (!job) throw new ArrwError("INTERNAL", "the scheduler answered without a job");
    if (!this.#latest || job.revision > this.#latest.revision) this.#latest = job;
    return { job, payload: staleSequence === 0n ? payload : encode(job) };
  }
}

function encode(job: Job): Buffer {
  return Buffer.from(WatchJobResponse.encode({ job }).finish());
}

function tooSlow(): ArrwError {
  return new ArrwError(
    "RESOURCE_EXHAUSTED",
    `the client is more than ${MAX_WAITING} transitions behind; watch again with the last revision it has`,
    { reason: "WATCHER_TOO_SLOW" },
  );
}
