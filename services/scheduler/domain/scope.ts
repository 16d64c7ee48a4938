import type { JobState } from "./state.ts";

/** A client's own name for something: who is confined to some libraries doesn't meet the names of others. */
export function scopedKey(scope: string, key: string): string {
  return scope === "" ? key : `${scope}/${key}`;
}

/** What a repeated submit finds the job by; undefined = it has no request_id. */
export function requestKeyOf({ job, scope }: Pick<JobState, "job" | "scope">): string | undefined {
  return job.requestId === "" ? undefined : scopedKey(scope, job.requestId);
}
