import { join } from "node:path";
import { JobState as JobStateMessage, JournalRecord } from "../../../proto/gen/arrwdb/journal/v1/journal.ts";
import { Job, JobFilter, JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { JobState } from "../../../services/scheduler/domain/state.ts";
import { JobStore } from "../../../services/scheduler/store.ts";
import { type Cleanup, tempDir } from "../../support/temp.ts";

/** A store on disk without a scheduler; the test says what is durable. */

export interface Fields {
  readonly status?: JobStatus;
  readonly type?: string;
  readonly libraryId?: string;
  readonly libraryIds?: readonly string[];
  readonly labels?: Record<string, string>;
  readonly requestId?: string;
  readonly createdAt?: Date;
  readonly completedAt?: Date;
}

export async function openStore(t: Cleanup) {
  const path = join(await tempDir(t), "store");
  const state = { store: new JobStore(path), sequence: 0, jobs: new Map<string, Job>() };
  t.after(() => state.store.close());
  const presences = new Map<string, { stored: boolean }>();
  const write = (jobId: string, fields: Fields | undefined): void => {
    state.sequence += 1;
    const to = fields && stateOf(jobId, fields);
    const at = new Date();
    const bytes = Buffer.from(
      JournalRecord.encode(
        JournalRecord.fromPartial({ jobId, revision: 1n, at, state: to } as never),
      ).finish(),
    );
    // After a deletion the job table knows nothing any more: a new job begins with a new entry.
    const known = state.store.get(jobId) ? presences.get(jobId) : undefined;
    const presence = known ?? { stored: false };
    presences.set(jobId, presence);
    state.store.counts.move(state.store.get(jobId)?.state, to);
    if (to) state.jobs.set(jobId, to.job);
    else state.jobs.delete(jobId);
    state.store.write(jobId, { sequence: state.sequence, bytes: to && bytes, state: to, presence });
  };
  const flush = () =>
    state.store.flush(() => ({ streamCreatedAt: "now", sequence: state.sequence, checksum: "c" }));
  const reopen = async (): Promise<void> => {
    await state.store.close();
    state.store = new JobStore(path);
  };
  return { state, write, flush, reopen };
}

export function stateOf(jobId: string, fields: Fields): JobState {
  const { status = JobStatus.JOB_STATUS_COMPLETED, type = "echo", libraryId = "", labels = {} } = fields;
  const { libraryIds = [], requestId = "", createdAt = new Date(0), completedAt = new Date(0) } = fields;
  const job = {
    jobId,
    status,
    type,
    libraryId,
    libraryIds: [...libraryIds],
    labels,
    requestId,
    createdAt,
    completedAt,
  };
  const state = JobStateMessage.fromPartial({ job: Job.fromPartial(job) } as never);
  return { ...state, job: state.job as Job };
}

export const filter = (fields: Partial<JobFilter>): JobFilter => JobFilter.fromPartial(fields as never);
export const id = (n: number): string => `job-${String(n).padStart(4, "0")}`;
