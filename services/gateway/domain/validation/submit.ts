import type {
  BatchImportSpec,
  EchoSpec,
  RetryPolicy,
  SubmitJobRequest,
} from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Duration } from "../../../../proto/gen/google/protobuf/duration.ts";
import { JOB_TYPE_NAMES, jobTypeOf } from "../job-types.ts";
import { checkRebuild, checkRegenerate } from "./builds.ts";
import { checkDelete } from "./deletes.ts";
import { checkDocument } from "./documents.ts";
import { checkExport } from "./exports.ts";
import type { LibraryShape } from "./vector.ts";
import { grouped, quoted, type Violation, Violations } from "./violations.ts";

const MAX_REQUEST_ID_CHARACTERS = 128;
const MAX_RETRIES = 100;
const MAX_LABELS = 16;
const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9_./-]{0,63}$/;
const MAX_LABEL_VALUE_BYTES = 256;
const MAX_ECHO_BYTES = 16_384;
const MAX_STEPS = 100_000;
const MAX_FAIL_TIMES = 1_000;
const MAX_SNOOZE_TIMES = 1_000;
const DAY_SECONDS = 24 * 3_600;
const UP_TO_30_DAYS = { min: 0.001, max: 30 * DAY_SECONDS, text: "1 ms..30 days" };
const UP_TO_365_DAYS = { min: 0.001, max: 365 * DAY_SECONDS, text: "1 ms..365 days" };
const UP_TO_24_HOURS = { min: 0, max: DAY_SECONDS, text: "0..24 hours" };
const DEFAULT_BACKOFF_INITIAL_SECONDS = 1;
const MAX_BACKOFF_MULTIPLIER = 100;
const MAX_KEY_CHARACTERS = 128;
const MAX_CONCURRENCY = 10_000;
/** Of one import by SubmitJob, and requests of one SubmitJobs. */
export const MAX_DOCUMENTS = 100_000;
export const MAX_REQUESTS = 10_000;
const MAX_CHUNK_SIZE = 100_000;
const DEFAULT_CHUNK_SIZE = 1_000;
const YEAR_10000_MS = 253_402_300_800_000;

/** A job record must stay small: the request without its documents. */
export const MAX_REQUEST_BYTES = 24_576;

export interface SubmitContext {
  /** Where it is known. */
  readonly library: LibraryShape | undefined;
  /** The documents come in a stream of their own: the spec may be unset and has none. */
  readonly streamed: boolean;
}

/** All that is wrong with a request to submit, but for what only the library's existence can tell. */
export function checkSubmit(request: SubmitJobRequest, context: SubmitContext): readonly Violation[] {
  const violations = new Violations();
  violations.maxCharacters("request_id", request.requestId, MAX_REQUEST_ID_CHARACTERS);
  const { maxRetries, runAt, executionTimeout, retryPolicy, totalTimeout } = request;
  if (maxRetries !== undefined) violations.integer("max_retries", maxRetries, 0, MAX_RETRIES);
  if (runAt !== undefined && !(runAt.getTime() >= 0 && runAt.getTime() < YEAR_10000_MS)) {
    violations.add("run_at", `1970-01-01..9999-12-31; got ${shownTime(runAt)}`);
  }
  if (executionTimeout) checkDuration("execution_timeout", executionTimeout, UP_TO_30_DAYS, violations);
  if (totalTimeout) checkDuration("total_timeout", totalTimeout, UP_TO_365_DAYS, violations);
  if (retryPolicy) checkRetryPolicy(retryPolicy, violations);
  checkConcurrency(request, violations);
  checkLabels("labels", request.labels, violations);
  checkSpec(request, context, violations);
  return violations.list;
}

export function checkLabels(path: string, labels: Record<string, string>, violations: Violations): void {
  let count = 0;
  for (const key in labels) {
    count += 1;
    if (violations.full) continue;
    if (!LABEL_KEY.test(key)) {
      const rule = '1..64 characters of A-Z, a-z, 0-9, "_", ".", "/" and "-", the first a letter or digit';
      violations.add(path, `keys: ${rule}; got ${quoted(key)}`);
    }
    violations.maxBytes(`${path}[${quoted(key)}]`, labels[key] ?? "", MAX_LABEL_VALUE_BYTES);
  }
  violations.maxItems(path, count, MAX_LABELS);
}

function checkRetryPolicy(policy: RetryPolicy, violations: Violations): void {
  const { backoffInitial, backoffMax, backoffMultiplier, jitter } = policy;
  const initialFits =
    !backoffInitial ||
    checkDuration("retry_policy.backoff_initial", backoffInitial, UP_TO_30_DAYS, violations);
  if (backoffMax) {
    const initial = backoffInitial && initialFits ? secondsOf(backoffInitial) : undefined;
    // A backoff_initial that is wrong itself is said once.
    const min = initial ?? (backoffInitial ? UP_TO_30_DAYS.min : DEFAULT_BACKOFF_INITIAL_SECONDS);
    const text = `backoff_initial (${min} s)..30 days`;
    checkDuration("retry_policy.backoff_max", backoffMax, { ...UP_TO_30_DAYS, min, text }, violations);
  }
  if (backoffMultiplier !== 0 && !(backoffMultiplier >= 1 && backoffMultiplier <= MAX_BACKOFF_MULTIPLIER)) {
    violations.add("retry_policy.backoff_multiplier", `1..100, or 0 for 2; got ${backoffMultiplier}`);
  }
  if (jitter !== undefined && !(jitter >= 0 && jitter <= 1)) {
    violations.add("retry_policy.jitter", `0..1; got ${jitter}`);
  }
}

function checkConcurrency(
  { concurrencyKey, concurrencyLimit }: SubmitJobRequest,
  violations: Violations,
): void {
  violations.maxCharacters("concurrency_key", concurrencyKey, MAX_KEY_CHARACTERS);
  violations.integer("concurrency_limit", concurrencyLimit, 0, MAX_CONCURRENCY);
  if (concurrencyKey === "" && concurrencyLimit !== 0) {
    violations.add("concurrency_limit", `only with a concurrency_key; got ${concurrencyLimit}`);
  }
}

function checkSpec(request: SubmitJobRequest, context: SubmitContext, violations: Violations): void {
  const spec = request.spec?.spec;
  if (context.streamed) {
    if (request.libraryId === "") violations.add("library_id", 'an id or a name is needed; got ""');
    if (spec === undefined) return;
    if (spec.$case !== "batchImport") {
      violations.add("spec", `unset or batch_import; got ${jobTypeOf(request.spec)?.name}`);
      return;
    }
    const { length } = spec.value.documents;
    if (length > 0) {
      violations.add("spec.batch_import.documents", `none in the header, they follow it; got ${length}`);
    }
    checkChunking(spec.value, violations);
    return;
  }
  const type = jobTypeOf(request.spec);
  // Documents that are named are looked for in all libraries.
  const isNamed = spec?.$case === "batchDelete" && !spec.value.filter;
  if (type?.needsLibrary && request.libraryId === "" && !isNamed) {
    violations.add("library_id", 'an id or a name is needed; got ""');
  }
  switch (spec?.$case) {
    case undefined:
      violations.add("spec", `one of ${JOB_TYPE_NAMES.join(", ")} is needed; got none`);
      return;
    case "echo":
      checkEcho(spec.value, violations);
      return;
    case "batchImport":
      checkChunking(spec.value, violations);
      checkDocuments(spec.value, context.library, violations);
      return;
    case "batchDelete":
      checkDelete(spec.value, request.libraryId !== "", violations);
      return;
    case "batchExport":
      checkExport(spec.value, violations);
      return;
    case "indexRebuild":
      checkRebuild(spec.value, context.library, violations);
      return;
    case "regenerateEmbeddings":
      checkRegenerate(spec.value, context.library, violations);
      return;
  }
}

function checkEcho(echo: EchoSpec, violations: Violations): void {
  violations.maxBytes("spec.echo.message", echo.message, MAX_ECHO_BYTES);
  violations.integer("spec.echo.steps", echo.steps, 0, MAX_STEPS);
  violations.integer("spec.echo.fail_times", echo.failTimes, 0, MAX_FAIL_TIMES);
  violations.integer("spec.echo.snooze_times", echo.snoozeTimes, 0, MAX_SNOOZE_TIMES);
  if (echo.sleep) checkDuration("spec.echo.sleep", echo.sleep, UP_TO_24_HOURS, violations);
  if (echo.snooze) checkDuration("spec.echo.snooze", echo.snooze, UP_TO_24_HOURS, violations);
}

function checkChunking(spec: BatchImportSpec, violations: Violations): void {
  violations.integer("spec.batch_import.chunk_size", spec.chunkSize, 0, MAX_CHUNK_SIZE);
  const chunkSize = spec.chunkSize === 0 ? DEFAULT_CHUNK_SIZE : spec.chunkSize;
  const { chunkOverlap } = spec;
  if (chunkOverlap !== undefined && !(chunkOverlap >= 0 && chunkOverlap < chunkSize)) {
    const bound = `0..${grouped(Math.max(0, chunkSize - 1))}, less than the chunk_size`;
    violations.add("spec.batch_import.chunk_overlap", `${bound}; got ${chunkOverlap}`);
  }
}

function checkDocuments(
  spec: BatchImportSpec,
  library: LibraryShape | undefined,
  violations: Violations,
): void {
  const { documents } = spec;
  const path = "spec.batch_import.documents";
  if (documents.length === 0) violations.add(path, "at least one; got 0");
  violations.maxItems(path, documents.length, MAX_DOCUMENTS);
  // Where there are too many none of them was read.
  if (documents.length > MAX_DOCUMENTS) return;
  for (const [index, document] of documents.entries()) {
    if (violations.full) return;
    checkDocument(`${path}[${index}]`, document, library, violations);
  }
}

/** @returns whether it is within the bounds, in seconds */
function checkDuration(
  path: string,
  duration: Duration,
  bounds: { readonly min: number; readonly max: number; readonly text: string },
  violations: Violations,
): boolean {
  const seconds = secondsOf(duration);
  if (Math.abs(duration.nanos) > 999_999_999) {
    violations.add(path, `nanos -999,999,999..999,999,999; got ${duration.nanos}`);
  } else if (!(seconds >= bounds.min && seconds <= bounds.max)) {
    violations.add(path, `${bounds.text}; got ${seconds} s`);
  } else return true;
  return false;
}

function secondsOf({ seconds, nanos }: Duration): number {
  return Number(seconds) + nanos / 1e9;
}

function shownTime(time: Date): string {
  return Number.isNaN(time.getTime()) ? "a time out of range" : time.toISOString();
}
