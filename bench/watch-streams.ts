import { credentials } from "@grpc/grpc-js";
import { type Job, JobServiceClient, JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";

/** A process of `bench/watches.ts`: opens watches, says when all have their first message, and how they end. */

export interface WatchTask {
  readonly address: string;
  readonly jobIds: readonly string[];
  readonly connections: number;
}

export type WatchNews =
  | { readonly kind: "watching" }
  /** From the job's end, as it says itself, until its terminal state came here, in ms; and what went wrong. */
  | { readonly kind: "ended"; readonly delaysMs: readonly number[]; readonly failures: readonly string[] };

function run({ address, jobIds, connections }: WatchTask): void {
  const clients = Array.from(
    { length: connections },
    () =>
      new JobServiceClient(address, credentials.createInsecure(), {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_channelz": 0,
      }),
  );
  const delaysMs: number[] = [];
  const failures: string[] = [];
  let watching = 0;
  let ended = 0;
  const tell = (news: WatchNews): void => void process.send?.(news);
  for (const [index, jobId] of jobIds.entries()) {
    const client = clients[index % connections];
    const stream = client?.watchJob({ jobId, afterRevision: 0n });
    let first = true;
    let last: Job | undefined;
    stream?.on("data", ({ job }: { job: Job }) => {
      last = job;
      if (job.status >= JobStatus.JOB_STATUS_COMPLETED) delaysMs.push(Date.now() - Number(job.completedAt));
      if (first && ++watching === jobIds.length) tell({ kind: "watching" });
      first = false;
    });
    stream?.on("error", (error) => {
      if (failures.length < 10) failures.push(error.message);
      // There is nothing to wait for then.
      if (first && ++watching === jobIds.length) tell({ kind: "watching" });
      first = false;
    });
    stream?.on("close", () => {
      const ending = last && last.status >= JobStatus.JOB_STATUS_COMPLETED;
      if (!ending && failures.length < 10)
        failures.push(`job ${jobId} was left at revision ${last?.revision}`);
      if (++ended === jobIds.length) tell({ kind: "ended", delaysMs, failures });
    });
  }
}

process.on("message", run);
process.on("disconnect", () => process.exit());
