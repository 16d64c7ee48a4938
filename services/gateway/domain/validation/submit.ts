import type { BatchImportSpec, EchoSpec, SubmitJobRequest } from "../../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Duration } from "../../../../proto/gen/google/protobuf/duration.ts";
import { JOB_TYPE_NAMES, jobTypeOf } from "../job-types.ts";
import { checkDocument } from "./documents.ts";
import type { LibraryShape } from "./vector.ts";
import { grouped, quoted, type Violation, Violations } from "./violations.ts";

const MAX_REQUEST_ID_CHARACTERS = 128;
const MAX_RETRIES = 100;
const MAX_LABELS = 16;
const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9_./-]{0,63}$/;
const MAX_LABEL_VALUE_BYTES = 256;
const MAX_ECHO_BYTES = 16_384;
const MAX_SLEEP_SECONDS = 24 * 3_600;
const MAX_STEPS = 100_000;
const MAX_FAIL_TIMES = 1_000;
const MAX_TIMEOUT_SECONDS = 30 * 24 * 3_600;
const MAX_DOCUMENTS = 100_000;
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
  const { maxRetries, runAt, executionTimeout } = request;
  if (maxRetries !== undefined) violations.integer("max_retries", maxRetries, 0, MAX_RETRIES);
  if (runAt !== undefined && !(runAt.getTime() >= 0 && runAt.getTime() < YEAR_10000_MS)) {
    violations.add("run_at", `1970-01-01..9999-12-31; got ${shownTime(runAt)}`);
  }
  if (executionTimeout !== undefined) {
    const bounds = { min: 0.001, max: MAX_TIMEOUT_SECONDS, text: "1 ms..30 days" };
    checkDuration("execution_timeout", executionTimeout, bounds, violations);
  }
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
  if (type?.needsLibrary && request.libraryId === "") {
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
  }
}

function checkEcho(echo: EchoSpec, violations: Violations): void {
  violations.maxBytes("spec.echo.message", echo.message, MAX_ECHO_BYTES);
  violations.integer("spec.echo.steps", echo.steps, 0, MAX_STEPS);
  violations.integer("spec.echo.fail_times", echo.failTimes, 0, MAX_FAIL_TIMES);
  if (echo.sleep) {
    const bounds = { min: 0, max: MAX_SLEEP_SECONDS, text: "0..24 hours" };
    checkDuration("spec.echo.sleep", echo.sleep, bounds, violations);
  }
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
  for (const [index, document] of documents.entries()) {
    if (violations.full) return;
    checkDocument(`${path}[${index}]`, document, library, violations);
  }
}

function checkDuration(
  path: string,
  duration: Duration,
  bounds: { readonly min: number; readonly max: number; readonly text: string },
  violations: Violations,
): void {
  const seconds = Number(duration.seconds) + duration.nanos / 1e9;
  if (Math.abs(duration.nanos) > 999_999_999) {
    violations.add(path, `nanos -999,999,999..999,999,999; got ${duration.nanos}`);
  } else if (!(seconds >= bounds.min && seconds <= bounds.max)) {
    violations.add(path, `${bounds.text}; got ${seconds} s`);
  }
}

function shownTime(time: Date): string {
  return Number.isNaN(time.getTime()) ? "a time out of range" : time.toISOString();
}
