import { CURRENT, type Embedding, type Store } from "./store.ts";

/** Rows of a library's build: there is one at a time. */

export type BuildKind = "rebuild" | "optimize" | "regenerate";

/** The build that is under way. */
export interface BuildRow {
  readonly jobId: string;
  readonly run: number;
  readonly lease: string;
  readonly kind: BuildKind;
  readonly generation: number;
  readonly minRecall: number;
  readonly startedAtMs: number;
  readonly predictedBytes: number;
}

/** The generation before the last swap. */
export interface PreviousRow {
  readonly generation: number;
  readonly expiresAtMs: number;
  /** The library's nextKey when it was swapped out. */
  readonly nextKey: number;
}

/** See BuildFigures in builds.proto. */
export interface BuildFigures {
  readonly oldIndexType: string;
  readonly newIndexType: string;
  readonly vectors: number;
  readonly tombstones: number;
  readonly recallAt10: number;
  readonly oldRecallAt10: number;
  readonly sampleQueries: number;
  readonly oldSearchP50Ms: number;
  readonly oldSearchP99Ms: number;
  readonly newSearchP50Ms: number;
  readonly newSearchP99Ms: number;
  readonly oldMemoryBytes: number;
  readonly newMemoryBytes: number;
  readonly oldDiskBytes: number;
  readonly newDiskBytes: number;
  readonly buildSeconds: number;
  readonly predictedMemoryBytes: number;
}

export type BuildOutcome = "swapped" | "not_needed" | "failed";

/** What a build came to, kept for calls whose answer was lost. */
export interface BuildResultRow {
  readonly lease: string;
  readonly atMs: number;
  readonly startedAtMs: number;
  readonly kind: BuildKind;
  readonly outcome: BuildOutcome;
  readonly generation: number;
  readonly embedding: Embedding;
  readonly embeddingId: string;
  readonly vectors: number;
  readonly errorCode: string;
  readonly errorMessage: string;
  readonly figures?: BuildFigures;
}

/** Results are kept this long. */
const RESULT_TTL_MS = 24 * 60 * 60 * 1000;

export function readBuild(store: Store): BuildRow | undefined {
  return store.builds.get(CURRENT);
}

export function readPrevious(store: Store): PreviousRow | undefined {
  return store.previous.get(CURRENT);
}

export function readResult(store: Store, jobId: string, run: number): BuildResultRow | undefined {
  return store.buildResults.get(resultKey(jobId, run));
}

/** What came of the job under this lease. */
export function resultOfLease(store: Store, jobId: string, lease: string): BuildResultRow | undefined {
  const rows = [...store.buildResults.getRange()];
  return rows.find(({ key, value }) => value.lease === lease && key.toString().endsWith(` ${jobId}`))?.value;
}

/** Inside a transaction. */
export function writeResult(store: Store, jobId: string, run: number, row: BuildResultRow): void {
  const old = [...store.buildResults.getRange()].filter(({ value }) => row.atMs - value.atMs > RESULT_TTL_MS);
  for (const { key } of old) store.buildResults.remove(key);
  store.buildResults.put(resultKey(jobId, run), row);
}

/** An optimize that began after `submittedAtMs` and was swapped did what one submitted then wants. */
export function optimizedSince(store: Store, submittedAtMs: number): boolean {
  return [...store.buildResults.getRange()].some(
    ({ value }) =>
      value.kind === "optimize" && value.outcome === "swapped" && value.startedAtMs > submittedAtMs,
  );
}

function resultKey(jobId: string, run: number): Buffer {
  return Buffer.from(`${run} ${jobId}`);
}
