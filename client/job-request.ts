import type { DeepPartial, JobSpec, SubmitJobRequest } from "../proto/gen/arrwdb/v1/jobs.ts";
import type { SubmitOptions } from "./options.ts";

/** The request that submits a job of a library. */
export function jobRequest(
  libraryId: string,
  { labels = {}, timeoutMs: _timeoutMs, signal: _signal, ...job }: SubmitOptions,
  spec: DeepPartial<NonNullable<JobSpec["spec"]>>,
): DeepPartial<SubmitJobRequest> {
  return { ...job, libraryId, labels: { ...labels }, spec: { spec } } as DeepPartial<SubmitJobRequest>;
}
