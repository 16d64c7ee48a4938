import type { Job } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "./state.ts";

/** Jobs whose items each have an outcome of their own. */
const TYPES: ReadonlySet<string> = new Set(["batch_import", "batch_delete"]);

export function hasItems({ type }: Pick<Job, "type">): boolean {
  return TYPES.has(type);
}

/**
 * False where it is certain that no item failed. A job that ended without a result says nothing of its items: its
 * handler finds out, unless it never came so far as a checkpoint.
 */
export function mayHaveFailedItems({ job, checkpoint }: JobState): boolean {
  if (!hasItems(job)) return false;
  const result = job.result?.result;
  const counted = result?.$case === "batchImport" || result?.$case === "batchDelete";
  return counted ? result.value.failed > 0n : checkpoint.length > 0;
}
