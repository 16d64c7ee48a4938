import type { Condition, Filter } from "../proto/gen/arrwdb/v1/document.ts";
import type {
  DeepPartial,
  JobItem,
  JobServiceClient,
  SubmitJobRequest,
} from "../proto/gen/arrwdb/v1/jobs.ts";
import { type CallSettings, type Deadline, repeatedly } from "./calls.ts";
import { jobRequest } from "./job-request.ts";
import type { SubmitOptions } from "./options.ts";
import { pages } from "./pages.ts";

/** What becomes of the items of jobs, and jobs that delete documents. */

export interface ItemsOptions extends CallSettings {
  /** Default: all whose outcome is known. */
  readonly outcome?: "ok" | "failed";
}

/** Documents by id, at most 100,000 in 8 MiB, or all that pass a filter with at least one condition. */
export type WhichDocuments =
  | { readonly documentIds: readonly string[]; readonly filter?: undefined }
  | { readonly filter: { readonly all: readonly Condition[] }; readonly documentIds?: undefined };

const PAGE_SIZE = 1_000;

/** By position; fetched as they are read, each page within the deadline that it is given. */
export function jobItems(
  stub: JobServiceClient,
  jobId: string,
  outcome: string,
  deadline: () => Deadline,
): AsyncGenerator<JobItem> {
  return pages(async (pageToken) => {
    const request = { jobId, outcome, pageSize: PAGE_SIZE, pageToken };
    return repeatedly(stub, stub.listJobItems, request, deadline());
  });
}

export function deleteRequest(
  libraryId: string,
  { documentIds = [], filter }: WhichDocuments,
  options: SubmitOptions,
): DeepPartial<SubmitJobRequest> {
  const value = { documentIds: [...documentIds], ...(filter ? { filter: filter as Filter } : {}) };
  return jobRequest(libraryId, options, { $case: "batchDelete", value });
}
