import type { DeepPartial, JobSpec, SubmitJobRequest } from "../proto/gen/arrwdb/v1/jobs.ts";
import type { CallSettings } from "./calls.ts";
import type { JobOptions } from "./options.ts";

/** Requests for jobs that build a new index beside the live one, check it and swap it in. */

export interface IndexJobOptions extends CallSettings, JobOptions {
  /** Idempotency key; default: one of its own. */
  readonly requestId?: string;
  /** 0..100; default 3. */
  readonly maxRetries?: number;
  readonly labels?: Readonly<Record<string, string>>;
}

type SpecOf<K extends string> = Extract<NonNullable<JobSpec["spec"]>, { $case: K }>["value"];

/** What is left out stays as it is. `minRecall`: 0..1, default 0.95; below it nothing is swapped. */
export interface RebuildOptions extends IndexJobOptions, DeepPartial<SpecOf<"indexRebuild">> {}

/** Without `embedding` the same one again. `minRecall`: 0..1, default 0.95; below it nothing is swapped. */
export interface RegenerateOptions extends IndexJobOptions, DeepPartial<SpecOf<"regenerateEmbeddings">> {}

export function rebuildRequest(libraryId: string, options: RebuildOptions): DeepPartial<SubmitJobRequest> {
  const { indexType = "", indexConfig, minRecall = 0, ...rest } = options;
  const value = { indexType, minRecall, ...(indexConfig ? { indexConfig } : {}) };
  return requestOf(libraryId, rest, { $case: "indexRebuild", value });
}

export function optimizeRequest(libraryId: string, options: IndexJobOptions): DeepPartial<SubmitJobRequest> {
  return requestOf(libraryId, options, { $case: "indexOptimize", value: {} });
}

export function regenerateRequest(
  libraryId: string,
  options: RegenerateOptions,
): DeepPartial<SubmitJobRequest> {
  const { embedding, minRecall = 0, ...rest } = options;
  const value = { minRecall, ...(embedding ? { embedding } : {}) };
  return requestOf(libraryId, rest, { $case: "regenerateEmbeddings", value });
}

function requestOf(
  libraryId: string,
  { labels = {}, timeoutMs: _timeoutMs, signal: _signal, ...job }: IndexJobOptions,
  spec: DeepPartial<NonNullable<JobSpec["spec"]>>,
): DeepPartial<SubmitJobRequest> {
  return { ...job, libraryId, labels: { ...labels }, spec: { spec } } as DeepPartial<SubmitJobRequest>;
}
