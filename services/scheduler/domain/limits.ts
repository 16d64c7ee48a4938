import { scopedKey } from "./scope.ts";
import type { JobState } from "./state.ts";

/** What a job must hold to run, beside a slot. */
export interface Limit {
  /** Jobs with the same key count together. */
  readonly key: string;
  /** The job starts while fewer than so many others hold the key. */
  readonly atMost: number;
  /** What it waits for, for people. */
  readonly label: string;
}

/** Jobs that replace a library's index: one at a time. */
const EXCLUSIVE_TYPES: ReadonlySet<string> = new Set([
  "index_rebuild",
  "index_optimize",
  "regenerate_embeddings",
]);
const NONE: readonly Limit[] = [];

/**
 * The limits of a job, in the order in which they are taken: all jobs take them in the same order, so that two can never
 * wait for each other.
 */
export function limitsOf({ job, scope }: Pick<JobState, "job" | "scope">): readonly Limit[] {
  const exclusive = EXCLUSIVE_TYPES.has(job.type);
  // Nearly all jobs have none.
  if (job.concurrencyKey === "" && !exclusive) return NONE;
  const limits: Limit[] = [];
  if (job.concurrencyKey !== "") {
    const label = `jobs with concurrency_key ${JSON.stringify(job.concurrencyKey)}`;
    const key = `key/${scopedKey(scope, job.concurrencyKey)}`;
    limits.push({ key, atMost: Math.max(1, job.concurrencyLimit), label });
  }
  if (exclusive) {
    const label = `index jobs of library ${JSON.stringify(job.libraryId)}`;
    limits.push({ key: `library/${job.libraryId}`, atMost: 1, label });
  }
  return limits;
}
