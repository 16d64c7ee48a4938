import type { DeepPartial, JobSpec, SubmitJobRequest } from "../proto/gen/arrwdb/v1/jobs.ts";
import { jobRequest } from "./job-request.ts";
import type { SubmitOptions } from "./options.ts";

/** Requests for jobs that build a new index beside the live one, check it and swap it in. */

type SpecOf<K extends string> = Extract<NonNullable<JobSpec["spec"]>, { $case: K }>["value"];

/** What is left out stays as it is. `minRecall`: 0..1, default 0.95; below it nothing is swapped. */
export interface RebuildOptions extends SubmitOptions, DeepPartial<SpecOf<"indexRebuild">> {}

/** Without `embedding` the same one again. `minRecall`: 0..1, default 0.95; below it nothing is swapped. */
export interface RegenerateOptions extends SubmitOptions, DeepPartial<SpecOf<"regenerateEmbeddings">> {}

export function rebuildRequest(libraryId: string, options: RebuildOptions): DeepPartial<SubmitJobRequest> {
  const { indexType = "", indexConfig, minRecall = 0, ...rest } = options;
  const value = { indexType, minRecall, ...(indexConfig ? { indexConfig } : {}) };
  return jobRequest(libraryId, rest, { $case: "indexRebuild", value });
}

export function optimizeRequest(libraryId: string, options: SubmitOptions): DeepPartial<SubmitJobRequest> {
  return jobRequest(libraryId, options, { $case: "indexOptimize", value: {} });
}

export function regenerateRequest(
  libraryId: string,
  options: RegenerateOptions,
): DeepPartial<SubmitJobRequest> {
  const { embedding, minRecall = 0, ...rest } = options;
  const value = { minRecall, ...(embedding ? { embedding } : {}) };
  return jobRequest(libraryId, rest, { $case: "regenerateEmbeddings", value });
}
