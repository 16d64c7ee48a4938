import { setTimeout as delay } from "node:timers/promises";
import { encode } from "../../platform/encode.ts";
import { notFound, unavailable } from "../../platform/errors.ts";
import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import {
  SchedulerServiceService,
  SubmitJobsResponse,
} from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { Job } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Worker } from "../../proto/gen/arrwdb/v1/queues.ts";
import { type JobState, PENDING } from "./domain/state.ts";
import { changeJob, changeJobs, isSeen } from "./job-changes.ts";
import type { Entry } from "./jobs.ts";
import type { Leader, View } from "./leader.ts";
import type { Page } from "./listing.ts";
import { queueStats } from "./queue-stats.ts";
import { type Selection, selectionOf } from "./selection.ts";
import { durable, resultOf, submitOne } from "./submit.ts";
import type { Term } from "./term.ts";
import type { Worker as KnownWorker } from "./workers.ts";

/** A bulk change ends so long before the caller's deadline. */
const BULK_MARGIN_MS = 2_000;
const DRAIN_TIMEOUT_MS = 5_000;
const DRAIN_POLL_MS = 50;

/** The scheduler's gRPC API. Every reply, a refusal too, waits until the revision it was decided on is durable. */
export function schedulerService(leader: Leader, maxActiveJobs: number): ImplementedService {
  return implement(SchedulerServiceService, {
    submitJobs: async ({ submissions }) => {
      const term = leader.term();
      const decided = submissions.map((submission) => submitOne(term, submission, maxActiveJobs));
      term.dispatcher.run();
      await durable(decided.flatMap((each) => ("entry" in each ? [each.entry] : [])));
      return encode(SubmitJobsResponse, { results: decided.map((each) => resultOf(term, each)) });
    },

    getJob: async ({ jobId, visibleLibraries }) => {
      const view = leader.view();
      const entry = view.projection.table.find(jobId);
      const seen = isSeen(entry, visibleLibraries) ? entry : undefined;
      return { job: visible(view, seen, jobId), staleSequence: view.staleSequence };
    },

    listJobs: async ({ filter, pageSize, pageToken, visibleLibraries }) => {
      const view = leader.view();
      const page = await pageOf(leader, view, selectionOf(filter, visibleLibraries), pageSize, pageToken);
      return {
        jobs: page.jobs.map((job) => explained(view, job)),
        nextPageToken: page.nextPageToken,
        totalSize: page.totalSize === undefined ? undefined : BigInt(page.totalSize),
        cursor: Buffer.from(`1:${page.through}`).toString("base64url"),
        staleSequence: view.staleSequence,
      };
    },

    cancelJob: async ({ jobId, reason, visibleLibraries }) => {
      const options = { maxActiveJobs, visible: visibleLibraries };
      const term = leader.term();
      const entry = await changeJob(term, jobId, { kind: "requestCancel", reason }, options);
      return { job: visible(viewOf(term), entry, jobId) };
    },

    retryJob: async ({ jobId, fromCheckpoint, failedItemsOnly, endedRevision, visibleLibraries }) => {
      const options = { maxActiveJobs, visible: visibleLibraries };
      const term = leader.term();
      const retry = { kind: "retry", fromCheckpoint, failedItemsOnly, endedRevision } as const;
      const entry = await changeJob(term, jobId, retry, options);
      return { job: visible(viewOf(term), entry, jobId) };
    },

    deleteJob: async ({ jobId, visibleLibraries }) => {
      const options = { maxActiveJobs, visible: visibleLibraries };
      await changeJob(leader.term(), jobId, { kind: "delete" }, options);
      return {};
    },

    changeJobs: async (request, { deadlineMs }) => {
      const term = leader.term();
      const list = async (filter: Selection, pageSize: number, pageToken: string): Promise<Page> =>
        pageOf(leader, leader.view(), filter, pageSize, pageToken);
      const now = Date.now();
      const endMs = deadlineMs - Math.min(BULK_MARGIN_MS, (deadlineMs - now) / 4);
      const isTimeUp = (): boolean => leader.current() !== term || Date.now() > endMs;
      return changeJobs(term, request, { list, maxActiveJobs, isTimeUp });
    },

    changeQueue: async ({ type, paused, maxRunning }) => {
      const term = leader.term();
      const queue = term.queues.get(type);
      const changed = { type, paused: paused ?? queue.paused, maxRunning: maxRunning ?? queue.maxRunning };
      term.queues.set(changed);
      await term.storeQueues();
      term.dispatcher.run();
      return { queue: changed };
    },

    getQueueStats: async ({ visibleLibraries }) => ({ stats: queueStats(leader.view(), visibleLibraries) }),

    listWorkers: async () => {
      const workers = [...leader.term().workers].map(shownWorker);
      return { workers: workers.sort((a, b) => (a.workerId < b.workerId ? -1 : 1)) };
    },

    drainWorker: async ({ workerId }) => ({ worker: await drained(leader.term(), workerId) }),
  });
}

async function pageOf(
  leader: Leader,
  view: View,
  filter: Selection | undefined,
  pageSize: number,
  pageToken: string,
): Promise<Page> {
  const { store, position } = view.projection;
  const page = await store.list(filter, pageSize, pageToken, () => position.sequence);
  // Another may lead, or the projection be another, by now.
  if (leader.view().projection !== view.projection) {
    throw unavailable("the scheduler stopped leading", { retryAfterMs: 500 });
  }
  return page;
}

/** What is durable is answered, also when the term has ended meanwhile: a repeat would find it changed. */
function viewOf(term: Term): View {
  return { projection: term.projection, term, staleSequence: 0n };
}

/** The job for a client. @throws NOT_FOUND; UNAVAILABLE where a standby can't know that */
function visible(view: View, entry: Entry | undefined, jobId: string): Job {
  const job = entry && view.projection.table.visible(entry);
  if (job) return explained(view, job, entry.committed);
  if (view.term) throw notFound("job", jobId);
  const message = `no scheduler leads, and job ${jobId} is not in the journal up to ${view.staleSequence}`;
  throw unavailable(message, { retryAfterMs: 500 });
}

/** With what a job waits for; only the leader knows. */
function explained({ term, projection }: View, job: Job, state?: JobState): Job {
  if (!term || job.status !== PENDING) return job;
  const current = state ?? projection.table.find(job.jobId)?.committed;
  return current ? { ...job, waitingFor: term.dispatcher.waitingFor(current) } : job;
}

/** Takes effect at once; answers when the worker itself says so, hence for ever. */
async function drained(term: Term, workerId: string): Promise<Worker> {
  const worker = term.workers.get(workerId);
  // A worker that only its leases speak of has not been heard of since the takeover.
  if (!worker || worker.types.size === 0) throw notFound("worker", workerId);
  worker.drainRequested = true;
  for (let waitedMs = 0; !worker.draining; waitedMs += DRAIN_POLL_MS) {
    if (term.workers.get(workerId) !== worker) throw notFound("worker", workerId);
    if (waitedMs >= DRAIN_TIMEOUT_MS) throw unavailable(`worker ${workerId} has not answered`);
    await delay(DRAIN_POLL_MS);
  }
  return shownWorker(worker);
}

function shownWorker(worker: KnownWorker): Worker {
  const { workerId, host, version, types, slots, draining, drainRequested, startedAt } = worker;
  const silentMs = performance.now() - worker.heardAtMs;
  return {
    workerId,
    host,
    version,
    types: [...types].sort(),
    slots,
    leases: [...worker.leases.values()].map(({ lease, jobId }) => ({ lease, jobId })),
    draining: draining || drainRequested,
    startedAt,
    heardAt: new Date(Date.now() - silentMs),
  };
}
