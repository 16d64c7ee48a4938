import { type ArrwClient, type Job, JobStatus } from "../../client/index.ts";
import { progressView } from "../progress-view.ts";
import type { SentDocument } from "./verify.ts";

export interface WatchedImport {
  readonly job: Job;
  /** Messages that came over the stream. */
  readonly updates: number;
  /** A revision came after a higher one. */
  readonly wentBack: boolean;
}

export interface WatchedImportOptions {
  /** Characters of a chunk. */
  readonly chunkSize: number;
  readonly signal: AbortSignal;
  /** Told of every update of the running job; may print when it has called `pause`. */
  readonly onRunning?: (job: Job, pause: () => void) => void;
}

const TIMEOUT_MS = 120_000;

/** Streams the documents into a batch_import, then shows the job over its WatchJob stream until it ends. */
export async function watchedImport(
  client: ArrwClient,
  libraryId: string,
  documents: readonly SentDocument[],
  { chunkSize, signal, onRunning }: WatchedImportOptions,
): Promise<WatchedImport> {
  const submitted = await client.importDocuments(libraryId, documents, {
    chunkSize,
    chunkOverlap: 0,
    signal,
  });
  let view = progressView(false, " ");
  const pause = (): void => {
    view.close();
    view = progressView(false, " ");
  };
  let job = submitted;
  let updates = 0;
  let wentBack = false;
  try {
    for await (const next of client.watch(submitted.jobId, { signal, timeoutMs: TIMEOUT_MS })) {
      updates += 1;
      wentBack ||= next.revision < job.revision;
      job = next;
      view.update(next);
      if (next.status === JobStatus.JOB_STATUS_RUNNING) onRunning?.(next, pause);
    }
  } finally {
    view.close();
  }
  return { job, updates, wentBack };
}
