import { v7 as uuidv7 } from "uuid";
import { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import { JobFilter, JobServiceService, SubmitJobRequest } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceService } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { QueueServiceService } from "../../proto/gen/arrwdb/v1/queues.ts";
import type { Outcome } from "./tenants.ts";

/** What one tenant tries on another's things: every method of the public API. */

export interface Target {
  readonly library: string;
  readonly importJob: string;
  readonly exportJob: string;
}

export interface Row {
  readonly fields: (target: Target) => object | readonly object[];
  /** A code, or "same": an answer in which nothing is. */
  readonly answer: "NOT_FOUND" | "PERMISSION_DENIED" | "same";
}

export const METHODS = { ...JobServiceService, ...LibraryServiceService, ...QueueServiceService };
export type Method = keyof typeof METHODS;

const optimize = ({ library }: Target): SubmitJobRequest =>
  SubmitJobRequest.fromPartial({ libraryId: library, spec: { spec: { $case: "indexOptimize", value: {} } } });
const filter = ({ library }: Target) => ({ filter: JobFilter.fromPartial({ libraryId: library }) });
const ofImport = ({ importJob }: Target) => ({ jobId: importJob });
const ofLibrary = ({ library }: Target) => ({ libraryId: library });
const ofDocument = ({ library }: Target) => ({ libraryId: library, documentId: "first" });
const notFound = (fields: Row["fields"]): Row => ({ fields, answer: "NOT_FOUND" });
const denied = (fields: Row["fields"]): Row => ({ fields, answer: "PERMISSION_DENIED" });
const same = (fields: Row["fields"]): Row => ({ fields, answer: "same" });
const none = () => ({});

/** What each method is asked of the other's things, those that destroy them at last; or where it is tried. */
export const TABLE: Readonly<Record<Method, Row | string>> = {
  getJob: notFound(ofImport),
  watchJob: notFound(ofImport),
  getJobLogs: notFound(ofImport),
  listJobItems: notFound(ofImport),
  downloadExport: notFound(({ exportJob }) => ({ jobId: exportJob })),
  listJobs: same(filter),
  getQueueStats: "lists, totals and bulk changes",
  watchJobs: "a watch of all jobs",
  getLibrary: notFound(ofLibrary),
  listLibraries: "lists, totals and bulk changes",
  getDocument: notFound(ofDocument),
  listDocuments: notFound((target) => ({ ...ofLibrary(target), pageSize: 10 })),
  search: notFound((target) => ({
    ...ofLibrary(target),
    query: { $case: "text", value: "some text" },
    k: 1,
  })),
  watchLibrary: notFound(ofLibrary),
  createLibrary: denied(ofLibrary),
  submitJob: notFound(optimize),
  submitJobs: same((target) => ({ requests: [optimize(target)] })),
  importDocuments: notFound(({ library }) => [
    { message: { $case: "header", value: SubmitJobRequest.fromPartial({ libraryId: library }) } },
    { message: { $case: "document", value: Document.fromPartial({ texts: ["x"] }) } },
  ]),
  pauseQueue: denied(none),
  resumeQueue: denied(none),
  setQueueLimit: denied(() => ({ type: "echo" })),
  listWorkers: denied(none),
  drainWorker: denied(() => ({ workerId: uuidv7() })),
  rollbackGeneration: notFound(ofLibrary),
  cancelJob: notFound(ofImport),
  retryJob: notFound(ofImport),
  deleteJob: notFound(ofImport),
  cancelJobs: same(filter),
  retryJobs: same(filter),
  deleteJobs: same(filter),
  deleteDocument: notFound(ofDocument),
  deleteLibrary: notFound(ofLibrary),
};

/** Without what names the target, and what goes on by itself. */
export function shown(outcome: Outcome, { library, importJob, exportJob }: Target): string {
  const text = JSON.stringify(outcome, (key, value) => {
    if (typeof value === "bigint") return String(value);
    return key === "cursor" ? undefined : value;
  });
  return text.replaceAll(library, "<library>").replaceAll(importJob, "<job>").replaceAll(exportJob, "<job>");
}
