import type { Method } from "../domain/access.ts";
import { fieldBytes, lastFieldBytes, leadingString } from "../wire.ts";

/** What the audit log says of a call: ids and settings that it named or made. Never texts, never keys. */
export type Facts = Readonly<Record<string, string | number | boolean | readonly string[]>>;

const MAX_LENGTH = 200;
const MAX_IDS = 100;
/** job in SubmitJobResponse, ImportDocumentsResponse and SubmitJobsResult. */
const JOB = 1;
/** job_id in Job. */
const JOB_ID = 1;
const RESULTS = 1;

const NAMED = [
  ["libraryId", "library_id"],
  ["documentId", "document_id"],
  ["jobId", "job_id"],
  ["requestId", "request_id"],
  ["workerId", "worker_id"],
  ["type", "type"],
  ["maxRunning", "max_running"],
  ["failedItemsOnly", "failed_items_only"],
  ["all", "all"],
] as const;

/** @param request as the handler gets it; of ImportDocuments its header */
export function requestFacts(request: unknown): Facts {
  if (Array.isArray(request)) return batchFacts(request);
  const message = submitOf(request);
  const filter = record(message.filter);
  const facts: Record<string, Facts[string]> = filter === undefined ? {} : filterFacts(filter);
  for (const [field, name] of NAMED) {
    const value = message[field];
    if (typeof value === "string" && value !== "") facts[name] = cut(value);
    else if (typeof value === "number" || value === true) facts[name] = value;
  }
  const type = jobType(message);
  return type === undefined ? facts : { ...facts, type };
}

/** @param response as the handler gives it: a message or its bytes */
export function responseFacts(method: Method, response: unknown): Facts {
  if (method === "submitJob" || method === "importDocuments") return jobFacts([jobIdOf(response)]);
  if (method === "submitJobs" && response instanceof Uint8Array) {
    const results = fieldBytes(response, RESULTS);
    const ids = results.slice(0, MAX_IDS).map(jobIdOf);
    return { ...jobFacts(ids), results: results.length };
  }
  const libraryId = record(record(response)?.library)?.libraryId;
  return typeof libraryId === "string" ? { library_id: cut(libraryId) } : {};
}

function batchFacts(requests: readonly unknown[]): Facts {
  const libraries = new Set<string>();
  for (const request of requests) {
    const { libraryId } = submitOf(request);
    if (typeof libraryId === "string" && libraryId !== "" && libraries.size < MAX_IDS)
      libraries.add(cut(libraryId));
  }
  return { requests: requests.length, library_ids: [...libraries] };
}

/** Received submits carry their bytes beside the message. */
function submitOf(request: unknown): Readonly<Record<string, unknown>> {
  const given = record(request) ?? {};
  return record(given.request) ?? given;
}

function filterFacts(filter: Readonly<Record<string, unknown>>): Record<string, Facts[string]> {
  const { libraryId, types } = filter;
  return {
    ...(typeof libraryId === "string" && libraryId !== "" ? { library_id: cut(libraryId) } : {}),
    ...(Array.isArray(types) && types.length > 0
      ? { types: types.slice(0, MAX_IDS).map(String).map(cut) }
      : {}),
  };
}

function jobType(message: Readonly<Record<string, unknown>>): string | undefined {
  const kind = record(record(message.spec)?.spec)?.$case;
  return typeof kind === "string"
    ? kind.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    : undefined;
}

function jobFacts(ids: readonly (string | undefined)[]): Facts {
  const known = ids.filter((id) => id !== undefined);
  if (ids.length === 1 && known[0] !== undefined) return { job_id: known[0] };
  return known.length === 0 ? {} : { job_ids: known };
}

function jobIdOf(result: unknown): string | undefined {
  if (!(result instanceof Uint8Array)) return undefined;
  const job = lastFieldBytes(result, JOB);
  return job && leadingString(job, JOB_ID);
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
}

function cut(text: string): string {
  return text.slice(0, MAX_LENGTH);
}
