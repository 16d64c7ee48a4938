import { isJobVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import type { GetQueueStatsResponse, JobStatus, TypeStats } from "../../proto/gen/arrwdb/v1/jobs.ts";
import {
  BLOCKED,
  CANCELLED,
  COMPLETED,
  FAILED,
  isTerminal,
  type JobState,
  PENDING,
  RUNNING,
  SCHEDULED,
} from "./domain/state.ts";
import type { View } from "./leader.ts";

/** Counts of the jobs that are seen, and of workers; a standby knows of no workers. */
export function queueStats(view: View, visible: LibraryPatterns): GetQueueStatsResponse {
  const { projection, term, staleSequence } = view;
  const groups = projection.store.counts.matching(undefined, visible);
  const count = (...statuses: JobStatus[]): bigint =>
    BigInt(groups.reduce((sum, group) => sum + (statuses.includes(group.status) ? group.count : 0), 0));
  const workers = term ? [...term.workers] : [];
  return {
    totalJobs: BigInt(groups.reduce((sum, group) => sum + group.count, 0)),
    pendingJobs: count(PENDING),
    scheduledJobs: count(SCHEDULED),
    blockedJobs: count(BLOCKED),
    runningJobs: count(RUNNING),
    completedJobs: count(COMPLETED),
    failedJobs: count(FAILED),
    cancelledJobs: count(CANCELLED),
    queueSize: count(PENDING),
    numWorkers: workers.length,
    slots: workers.reduce((sum, worker) => sum + worker.slots, 0),
    slotsUsed: workers.reduce((sum, worker) => sum + worker.leases.size, 0),
    byType: typeStats(view, visible),
    running: term !== undefined && !term.queues.allPaused,
    staleSequence,
  };
}

/** Types that have active jobs or settings, by name. */
function typeStats({ projection, term }: View, visible: LibraryPatterns): TypeStats[] {
  const isSeen = visible.length > 0 ? ({ job }: JobState) => isJobVisible(visible, job) : undefined;
  const counts = new Map<string, { pending: number; running: number }>();
  for (const { type } of projection.position.queues)
    if (type !== "") counts.set(type, { pending: 0, running: 0 });
  for (const { type, status, count } of projection.store.counts.matching(undefined, visible)) {
    if (isTerminal(status)) continue;
    const entry = counts.get(type) ?? { pending: 0, running: 0 };
    counts.set(type, entry);
    if (status === PENDING) entry.pending += count;
    if (status === RUNNING) entry.running += count;
  }
  const now = projection.table.now().getTime();
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([type, { pending, running }]) => {
      const readyAt = term?.dispatcher.oldestPending(type, isSeen)?.job.runAt;
      return {
        type,
        pendingJobs: BigInt(pending),
        runningJobs: BigInt(running),
        oldestPendingAge: readyAt && ageOf(Math.max(0, now - readyAt.getTime())),
        paused: term?.queues.isPaused(type) ?? false,
        maxRunning: term?.queues.get(type).maxRunning ?? 0,
      };
    });
}

function ageOf(ms: number) {
  return { seconds: BigInt(Math.floor(ms / 1000)), nanos: (ms % 1000) * 1_000_000 };
}
