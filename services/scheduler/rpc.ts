import { encode } from "../../platform/encode.ts";
import { ArrwError, ErrorCode, notFound, toArrwError, unavailable } from "../../platform/errors.ts";
import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import {
  SchedulerServiceService,
  type Submission,
  SubmitJobsResponse,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type {
  GetQueueStatsResponse,
  Job,
  SubmitJobsResult,
  TypeStats,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
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
import type { Entry } from "./jobs.ts";
import type { Leader } from "./leader.ts";
import { listJobs } from "./listing.ts";
import type { Term } from "./term.ts";

/** The scheduler's gRPC API. Every reply, a refusal too, waits until the revision it was decided on is durable. */
export function schedulerService(leader: Leader, maxActiveJobs: number): ImplementedService {
  return implement(SchedulerServiceService, {
    submitJobs: async ({ submissions }) => {
      const term = leader.term();
      const decided = submissions.map((submission) => submitOne(term, submission, maxActiveJobs));
      term.dispatcher.run();
      await durable(decided.flatMap((each) => (each instanceof ArrwError ? [] : [each.entry])));
      return encode(SubmitJobsResponse, { results: decided.map((each) => resultOf(term, each)) });
    },

    getJob: async ({ jobId }) => {
      const term = leader.term();
      const entry = term.table.find(jobId);
      return { job: visible(term, entry, jobId) };
    },

    listJobs: async ({ filter, pageSize, pageToken }) => {
      const term = leader.term();
      const through = await term.flush();
      // The term may have ended meanwhile, and its store with it.
      if (leader.term() !== term) throw unavailable("the scheduler stopped leading", { retryAfterMs: 500 });
      const { jobs, nextPageToken, totalSize } = listJobs(term.table.store, filter, pageSize, pageToken);
      const total = totalSize === undefined ? undefined : BigInt(totalSize);
      return {
        jobs,
        nextPageToken,
        totalSize: total,
        cursor: Buffer.from(`1:${through}`).toString("base64url"),
      };
    },

    cancelJob: async ({ jobId, reason }) => {
      const term = leader.term();
      const outcome = term.table.transition(jobId, { kind: "requestCancel", reason });
      const { entry } = outcome;
      if (!entry) throw notFound("job", jobId);
      await durable([entry]);
      if (!outcome.accepted && outcome.rejection === "TERMINAL") {
        throw new ArrwError("FAILED_PRECONDITION", `job ${jobId} has ended and can't be cancelled`, {
          reason: "JOB_TERMINAL",
          resource: { type: "job", name: jobId },
        });
      }
      return { job: visible(term, entry, jobId) };
    },

    getQueueStats: async () => ({ stats: queueStats(leader.term()) }),
  });
}

/** A job that was submitted, now or before, or why not. */
type Submitted = { readonly entry: Entry; readonly mismatch: boolean } | ArrwError;

function submitOne(term: Term, submission: Submission, maxActiveJobs: number): Submitted {
  const { table, retention } = term;
  const requestId = submission.request?.requestId ?? "";
  const known = requestId === "" ? undefined : table.findRequest(requestId);
  if (known?.head) {
    return { entry: known, mismatch: !known.head.requestDigest.equals(submission.requestDigest) };
  }
  // A repeat of a submit that was taken is no new job, whatever the limits say.
  const limited = retention.full || table.active >= maxActiveJobs;
  const taken = limited ? table.find(submission.jobId) : undefined;
  if (taken?.head) return { entry: taken, mismatch: false };
  if (retention.full) {
    return new ArrwError("RESOURCE_EXHAUSTED", "the journal is near its bound", {
      reason: "JOURNAL_FULL",
      retryAfterMs: 5_000,
    });
  }
  if (table.active >= maxActiveJobs) {
    const message = `${table.active} jobs have not ended, at most ${maxActiveJobs} may`;
    return new ArrwError("RESOURCE_EXHAUSTED", message, { reason: "TOO_MANY_JOBS", retryAfterMs: 1_000 });
  }
  try {
    return { entry: table.submit(submission), mismatch: false };
  } catch (error) {
    return toArrwError(error);
  }
}

function resultOf(term: Term, submitted: Submitted): SubmitJobsResult {
  if (submitted instanceof ArrwError) return { outcome: { $case: "error", value: submitError(submitted) } };
  const { entry, mismatch } = submitted;
  const job = term.table.visible(entry);
  if (mismatch) {
    const message = `request_id ${JSON.stringify(job?.requestId ?? "")} belongs to job ${entry.jobId}, which was submitted with another body`;
    return { outcome: { $case: "error", value: submitError(new ArrwError("ALREADY_EXISTS", message)) } };
  }
  if (!job) return { outcome: { $case: "error", value: submitError(notFound("job", entry.jobId)) } };
  return { outcome: { $case: "job", value: job } };
}

function submitError(error: ArrwError) {
  return { code: ErrorCode[error.code], message: error.message, violations: [...error.violations] };
}

/** Waits for the acknowledgement of the newest record of each job. @throws UNAVAILABLE when it will not come */
async function durable(entries: readonly Entry[]): Promise<void> {
  const batches = new Set(entries.map((entry) => entry.batch));
  for (const batch of batches) await batch?.done;
}

function visible(term: Term, entry: Entry | undefined, jobId: string): Job {
  const job = entry && term.table.visible(entry);
  if (!job) throw notFound("job", jobId);
  return job;
}

function queueStats(term: Term): GetQueueStatsResponse {
  const groups = term.table.store.counts.matching(undefined);
  const count = (...statuses: number[]): bigint =>
    BigInt(groups.reduce((sum, group) => sum + (statuses.includes(group.status) ? group.count : 0), 0));
  const workers = [...term.workers];
  const types = new Map<string, { pending: number; running: number }>();
  for (const { type, status, count: jobs } of groups) {
    if (isTerminal(status)) continue;
    const entry = types.get(type) ?? { pending: 0, running: 0 };
    if (status === PENDING) entry.pending += jobs;
    if (status === RUNNING) entry.running += jobs;
    types.set(type, entry);
  }
  const now = term.table.now().getTime();
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
    byType: [...types]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([type, { pending, running }]) =>
        typeStats(type, pending, running, term.dispatcher.oldestPending(type), now),
      ),
    running: true,
  };
}

function typeStats(
  type: string,
  pending: number,
  running: number,
  oldest: JobState | undefined,
  now: number,
): TypeStats {
  const ageMs = Math.max(0, now - (oldest?.job.runAt?.getTime() ?? now));
  const oldestPendingAge = { seconds: BigInt(Math.floor(ageMs / 1000)), nanos: (ageMs % 1000) * 1_000_000 };
  return {
    type,
    pendingJobs: BigInt(pending),
    runningJobs: BigInt(running),
    oldestPendingAge: oldest ? oldestPendingAge : undefined,
    paused: false,
  };
}
