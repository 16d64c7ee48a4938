import { ArrwError, ErrorCode, notFound, toArrwError } from "../../platform/errors.ts";
import type { Submission } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import type { SubmitJobsResult } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Entry } from "./jobs.ts";
import type { Term } from "./term.ts";

/** Taking up new jobs. */

/** So much may be on its way to the journal: what JetStream does not take must not fill the memory. */
const MAX_BACKLOG_BYTES = 64 * 1024 * 1024;

/** A job that was submitted, now or before, or why not. */
export type Submitted = { readonly entry: Entry; readonly mismatch: boolean } | ArrwError;

/** Why no more jobs can be taken; undefined = they can. */
export function refusal(term: Term, maxActiveJobs: number): ArrwError | undefined {
  const { table, retention, backlogBytes } = term;
  if (retention.full) {
    const refused = { reason: "JOURNAL_FULL", retryAfterMs: 5_000 };
    return new ArrwError("RESOURCE_EXHAUSTED", "the journal is near its bound", refused);
  }
  if (table.active >= maxActiveJobs) {
    const message = `${table.active} jobs have not ended, at most ${maxActiveJobs} may`;
    return new ArrwError("RESOURCE_EXHAUSTED", message, { reason: "TOO_MANY_JOBS", retryAfterMs: 1_000 });
  }
  if (backlogBytes >= MAX_BACKLOG_BYTES) {
    const message = `${backlogBytes} bytes wait to be stored, at most ${MAX_BACKLOG_BYTES} may`;
    return new ArrwError("RESOURCE_EXHAUSTED", message, { reason: "JOURNAL_SLOW", retryAfterMs: 1_000 });
  }
  return undefined;
}

export function submitOne(term: Term, submission: Submission, maxActiveJobs: number): Submitted {
  const { table } = term;
  const requestId = submission.request?.requestId ?? "";
  const known = requestId === "" ? undefined : table.findRequest(submission.scope, requestId);
  if (known?.head) {
    return { entry: known, mismatch: !known.head.requestDigest.equals(submission.requestDigest) };
  }
  const refused = refusal(term, maxActiveJobs);
  if (refused) {
    // A repeat of a submit that was taken is no new job, whatever the limits say.
    const taken = table.find(submission.jobId);
    return taken?.head ? { entry: taken, mismatch: false } : refused;
  }
  try {
    return { entry: table.submit(submission), mismatch: false };
  } catch (error) {
    return toArrwError(error);
  }
}

export function resultOf(term: Term, submitted: Submitted): SubmitJobsResult {
  if (submitted instanceof ArrwError) return { outcome: { $case: "error", value: submitError(submitted) } };
  const { entry, mismatch } = submitted;
  const job = term.table.visible(entry);
  if (mismatch) {
    const message = `request_id ${JSON.stringify(job?.requestId ?? "")} belongs to job ${entry.jobId}, which was submitted with another body`;
    const reused = new ArrwError("ALREADY_EXISTS", message, { reason: "REQUEST_ID_REUSED" });
    return { outcome: { $case: "error", value: submitError(reused) } };
  }
  if (!job) return { outcome: { $case: "error", value: submitError(notFound("job", entry.jobId)) } };
  return { outcome: { $case: "job", value: job } };
}

function submitError({ code, message, violations, reason }: ArrwError) {
  return { code: ErrorCode[code], message, violations: [...violations], reason };
}

/** Waits for the acknowledgement of the newest record of each job. @throws UNAVAILABLE when it will not come */
export async function durable(entries: readonly Entry[]): Promise<void> {
  const batches = new Set(entries.map((entry) => entry.batch));
  for (const batch of batches) await batch?.done;
}
