import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";
import type { JobState } from "../../services/scheduler/domain/state.ts";

/** Index jobs of a library run one at a time. */
const EXCLUSIVE: ReadonlySet<string> = new Set(["index_rebuild", "index_optimize", "regenerate_embeddings"]);

/**
 * A job starts: others that run leave room for it.
 * @param queues as of the batch before and of this one; the decision was taken under one of them
 */
export function checkLimits(
  started: JobState,
  others: Iterable<JobState>,
  slots: number,
  queues: readonly (readonly Queue[])[],
  fail: (message: string) => void,
): void {
  const { job } = started;
  let sameKey = 0;
  let sameWorker = 0;
  let sameType = 0;
  for (const { job: other, lease } of others) {
    if (lease === 0n || other.jobId === job.jobId) continue;
    if (job.concurrencyKey !== "" && other.concurrencyKey === job.concurrencyKey) sameKey += 1;
    if (other.workerId === job.workerId) sameWorker += 1;
    if (other.type === job.type) sameType += 1;
    if (EXCLUSIVE.has(job.type) && EXCLUSIVE.has(other.type) && other.libraryId === job.libraryId) {
      fail(`${other.jobId} works on library ${job.libraryId}`);
    }
  }
  if (job.concurrencyKey !== "" && sameKey >= job.concurrencyLimit) {
    fail(`${sameKey} others run with key ${job.concurrencyKey}, it allows ${job.concurrencyLimit}`);
  }
  if (sameWorker >= slots) fail(`${sameWorker} of ${slots} slots of ${job.workerId} are taken`);
  const of = (set: readonly Queue[], type: string): Queue | undefined =>
    set.find((each) => each.type === type);
  if (queues.every((set) => of(set, "")?.paused || of(set, job.type)?.paused)) fail("its queue is paused");
  const limits = queues.map((set) => of(set, job.type)?.maxRunning || Number.POSITIVE_INFINITY);
  if (sameType >= Math.max(...limits)) fail(`${sameType} others of its type run`);
}
