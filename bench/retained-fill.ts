import { v7 as uuidv7 } from "uuid";
import { encode } from "../platform/encode.ts";
import type { Nats } from "../platform/nats/connection.ts";
import { Subject } from "../platform/nats/names.ts";
import { JobState, JournalBatch, JournalRecord } from "../proto/gen/arrwdb/journal/v1/journal.ts";
import { type JobSpec, JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { uniform } from "./clustered.ts";

/** A journal as a leader would have written it: ended jobs with all their records, and what a list must find. */

export const TYPES = [
  "echo",
  "batch_import",
  "index_rebuild",
  "regenerate_embeddings",
  "batch_delete",
] as const;
export const { JOB_STATUS_COMPLETED, JOB_STATUS_FAILED, JOB_STATUS_CANCELLED } = JobStatus;
const { JOB_STATUS_PENDING, JOB_STATUS_RUNNING } = JobStatus;
export const ENDED = [JOB_STATUS_COMPLETED, JOB_STATUS_FAILED, JOB_STATUS_CANCELLED] as const;
const LIBRARIES = 200;
const TEAMS = 20;
/** Jobs whose records are written together, and that share a `batch` label. */
const BLOCK = 500;
/** The jobs are spread over this time before now. */
const SPREAD_MS = 24 * 3_600_000;
const IN_FLIGHT = 4;

export interface Filled {
  readonly libraries: readonly string[];
  /** "status/type/library" -> jobs. */
  readonly groups: ReadonlyMap<string, number>;
  /** "key=value", "team=value, libraryId" and "team=value, status" -> jobs. */
  readonly labels: ReadonlyMap<string, number>;
  readonly bytes: number;
}

interface Ended {
  readonly jobId: string;
  readonly type: string;
  readonly libraryId: string;
  readonly status: JobStatus;
  readonly labels: Record<string, string>;
  readonly atMs: number;
  readonly spec: JobSpec;
}

/** Appends an EPOCH batch, then `jobs` ended jobs with their submit, start and end. */
export async function fillJournal(nats: Nats, jobs: number): Promise<Filled> {
  const libraries = Array.from({ length: LIBRARIES }, () => uuidv7());
  const groups = new Map<string, number>();
  const labels = new Map<string, number>();
  const startMs = Date.now() - SPREAD_MS;
  const inFlight: Promise<number>[] = [];
  let sequence = 0;
  let lease = 0n;
  let bytes = 0;
  const append = async (records: readonly Buffer[]): Promise<void> => {
    const batch = encode(
      JournalBatch,
      JournalBatch.fromPartial({
        version: 1,
        epoch: sequence === 0 ? 0n : 1n,
        lastLease: lease,
        leaderAddress: sequence === 0 ? "127.0.0.1:1" : "",
        records: [...records],
      }),
    );
    bytes += batch.length;
    inFlight.push(nats.append(Subject.journal, batch, { timeoutMs: 30_000, expectedLastSequence: sequence }));
    sequence += 1;
    if (inFlight.length >= IN_FLIGHT) await inFlight.shift();
  };
  await append([]);
  for (let first = 0; first < jobs; first += BLOCK) {
    const block = Array.from({ length: Math.min(BLOCK, jobs - first) }, (_, n) =>
      endedJob(first + n, startMs + ((first + n) * SPREAD_MS) / jobs, libraries),
    );
    for (const { status, type, libraryId, labels: given } of block) {
      count(groups, `${status}/${type}/${libraryId}`);
      for (const [key, value] of Object.entries(given)) count(labels, `${key}=${value}`);
      count(labels, `team=${given.team}, ${libraryId}`);
      count(labels, `team=${given.team}, ${status}`);
    }
    await append(block.map((job) => record(job, JOB_STATUS_PENDING, 1n, "job.submitted", 0n)));
    await append(block.map((job) => record(job, JOB_STATUS_RUNNING, 2n, "job.started", ++lease)));
    await append(block.map((job) => record(job, job.status, 3n, "job.ended", 0n)));
  }
  await Promise.all(inFlight);
  return { libraries, groups, labels, bytes };
}

function endedJob(n: number, atMs: number, libraries: readonly string[]): Ended {
  const dice = uniform();
  const end = dice < 0.9 ? JOB_STATUS_COMPLETED : dice < 0.97 ? JOB_STATUS_FAILED : JOB_STATUS_CANCELLED;
  return {
    jobId: uuidv7({ msecs: Math.floor(atMs) }),
    type: pick(TYPES),
    libraryId: pick(libraries),
    status: end,
    labels: { team: `team-${Math.floor(uniform() * TEAMS)}`, batch: String(Math.floor(n / BLOCK)) },
    atMs,
    spec: {
      spec: { $case: "echo", value: { message: "m".repeat(100), steps: 0, sleep: undefined } },
    } as JobSpec,
  };
}

function record(job: Ended, status: JobStatus, revision: bigint, event: string, lease: bigint): Buffer {
  const { jobId, type, libraryId, labels, spec, atMs } = job;
  const at = new Date(atMs + Number(revision - 1n) * 100);
  const state = JobState.fromPartial({
    job: {
      ...{ jobId, type, libraryId, status, labels, spec, revision, maxRetries: 3 },
      createdAt: new Date(atMs),
      runAt: new Date(atMs),
      ...(revision > 1n ? { startedAt: new Date(atMs + 100), attempt: 1, workerId: "worker-1" } : {}),
      ...(revision > 2n ? { completedAt: at } : {}),
      ...(status === JOB_STATUS_FAILED ? { error: { code: "BROKEN", message: "it broke" } } : {}),
    },
    lease,
    leasesGranted: revision > 1n ? 1 : 0,
  } as Parameters<typeof JobState.fromPartial>[0]);
  return encode(JournalRecord, JournalRecord.fromPartial({ jobId, revision, event, at, state }));
}

function pick<T>(values: readonly T[]): T {
  return values[Math.floor(uniform() * values.length)] as T;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
