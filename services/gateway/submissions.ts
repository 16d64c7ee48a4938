import { BinaryWriter } from "@bufbuild/protobuf/wire";

import { completeEmbeddingConfig } from "../../platform/embedding/create-provider.ts";
import { ArrwError, ErrorCode, invalidArgument, toArrwError, type Violation } from "../../platform/errors.ts";
import { SchedulerServiceService } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { SubmitError, SubmitJobRequest, SubmitJobsResult } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { canonicalDocument, canonicalRequest, withoutDocuments } from "./domain/digest.ts";
import { jobTypeOf } from "./domain/job-types.ts";
import { checkSubmit, MAX_REQUEST_BYTES } from "./domain/validation/submit.ts";
import { shapeOf } from "./domain/validation/vector.ts";
import type { IndexCall, IndexClient, KnownLibrary } from "./index-client.ts";
import { newJobId } from "./job-ids.ts";
import { librariesWith, libraryRequired } from "./locate-documents.ts";
import { inputBytes, type ReceivedSubmit } from "./received.ts";
import { requestScope } from "./request-scope.ts";
import type { SchedulerClient } from "./scheduler-client.ts";
import { RequestDigest, type Spool, type Spooled } from "./spool.ts";
import { fieldBytes, lastFieldBytes, leadingString } from "./wire.ts";

/** From what a client sent to what the scheduler gets, and back to an outcome for each. */

/** Of a call, and who makes it. */
export type CallBounds = IndexCall;

/** What the scheduler gets for one job. */
export interface Submission {
  readonly jobId: string;
  readonly request: Uint8Array;
  readonly type: string;
  readonly digest: Uint8Array | undefined;
  readonly payload: Spooled;
  /** Of a batch_delete without a library: where its documents are. */
  readonly libraryIds?: readonly string[];
}

type Library = KnownLibrary | ArrwError | undefined;

const NO_PAYLOAD: Spooled = { objectId: "", items: 0, bytes: 0 };
const LIBRARIES_AT_A_TIME = 16;
const MAX_VIOLATIONS_IN_REPLY = 20_000;
const MAX_ERROR_CHARACTERS = 500;
const RESULT = { job: 1, error: 2 } as const;

export class Submissions {
  readonly #scheduler: SchedulerClient;
  readonly #index: IndexClient;
  readonly #spool: Spool;

  constructor(scheduler: SchedulerClient, index: IndexClient, spool: Spool) {
    this.#scheduler = scheduler;
    this.#index = index;
    this.#spool = spool;
  }

  /** The libraries that the requests name, each asked for once; an error where there is none. */
  async libraries(
    requests: readonly SubmitJobRequest[],
    bounds: CallBounds,
  ): Promise<ReadonlyMap<string, KnownLibrary | ArrwError>> {
    const found = new Map<string, KnownLibrary | ArrwError>();
    const named = new Set<string>();
    for (const { libraryId } of requests) if (libraryId !== "") named.add(libraryId);
    const names = [...named];
    const work = async (): Promise<void> => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) {
        const library = await this.#index.library(name, bounds).catch(toArrwError);
        found.set(name, library);
      }
    };
    await Promise.all(Array.from({ length: Math.min(names.length, LIBRARIES_AT_A_TIME) }, work));
    return found;
  }

  /** Checks one unary request and spools its documents or ids; at once if it has none. @throws ArrwError */
  prepare(received: ReceivedSubmit, library: Library, bounds: CallBounds): Submission | Promise<Submission> {
    try {
      return this.#prepare(received, library, bounds);
    } catch (error) {
      // What is remembered of the library may be from before a job gave it another index or embedding.
      if (!library || library instanceof ArrwError || !isInvalid(error)) throw error;
      return this.#prepareAgain(received, library, bounds);
    }
  }

  async #prepareAgain(
    received: ReceivedSubmit,
    outdated: KnownLibrary,
    bounds: CallBounds,
  ): Promise<Submission> {
    const { libraryId } = received.request;
    // Of many requests that are wrong the first one asks.
    if ((await this.#index.library(libraryId, bounds)) === outdated) this.#index.forget(libraryId);
    const library = await this.#index.library(libraryId, bounds).catch(toArrwError);
    return this.#prepare(received, library, bounds);
  }

  #prepare(received: ReceivedSubmit, library: Library, bounds: CallBounds): Submission | Promise<Submission> {
    const { request: asked } = received;
    const type = checked(asked, library, false);
    const isShared = type === "batch_delete" && asked.libraryId === "";
    if (asked.libraryId === "" && !isShared && bounds.principal.libraries !== undefined)
      throw libraryRequired();
    const jobId = newJobId();
    const request = handedOn(received, library);
    const digest = asked.requestId === "" ? undefined : digestOf(asked).finish();
    const input = inputBytes(received);
    if (!input) return { jobId, request, type, digest, payload: NO_PAYLOAD };
    if (isShared) return this.#prepareShared({ jobId, request, type, digest }, input, bounds);
    return this.#spool
      .put(jobId, input, bounds.signal)
      .then((payload) => ({ jobId, request, type, digest, payload }));
  }

  async #prepareShared(
    job: Omit<Submission, "payload">,
    documentIds: readonly Uint8Array[],
    bounds: CallBounds,
  ): Promise<Submission> {
    const ids = documentIds.map((bytes) => Buffer.from(bytes).toString());
    const libraryIds = await librariesWith(this.#index, ids, bounds);
    return { ...job, libraryIds, payload: await this.#spool.put(job.jobId, documentIds, bounds.signal) };
  }

  /** Checks the header of a stream; what it lacks comes with `spooled`. @throws ArrwError */
  prepareStream(
    header: ReceivedSubmit,
    library: Library,
  ): {
    readonly jobId: string;
    readonly digest: RequestDigest | undefined;
    spooled(payload: Spooled): Submission;
  } {
    const { request } = header;
    const type = checked(request, library, true);
    const jobId = newJobId();
    const spec = request.spec ?? {
      spec: { $case: "batchImport", value: { documents: [], chunkSize: 0 } },
    };
    const kept = handedOn(header, library, spec);
    const digest = request.requestId === "" ? undefined : digestOf(request);
    return {
      jobId,
      digest,
      spooled: (payload) => ({ jobId, request: kept, type, digest: digest?.finish(), payload }),
    };
  }

  /** The scheduler's SubmitJobsResult for each, encoded, in order. @throws ArrwError when there is none for any */
  async submit(submissions: readonly Submission[], bounds: CallBounds): Promise<Uint8Array> {
    const request = encodeSubmissions(submissions, requestScope(bounds.principal));
    try {
      const reply = await this.#scheduler.call(SchedulerServiceService.submitJobs, request, bounds);
      if (submissions.some(({ payload }) => payload.objectId !== "")) this.#removeUnused(submissions, reply);
      return reply;
    } catch (error) {
      // Whether it was taken is unknown when the scheduler went away: then its payload may be needed.
      const { code } = toArrwError(error);
      const unknown = code === "UNAVAILABLE" || code === "DEADLINE_EXCEEDED" || code === "CANCELLED";
      if (!unknown) this.discard(submissions);
      throw error;
    }
  }

  /** For submissions that never get to the scheduler. */
  discard(submissions: readonly Submission[]): void {
    for (const { payload } of submissions) this.#spool.remove(payload.objectId);
  }

  /** A repeated request_id has its job, with a payload of its own, already. */
  #removeUnused(submissions: readonly Submission[], reply: Uint8Array): void {
    const results = fieldBytes(reply, 1);
    for (const [index, { jobId, payload }] of submissions.entries()) {
      const job = lastFieldBytes(results[index] ?? new Uint8Array(), RESULT.job);
      if (!job || leadingString(job, 1) !== jobId) this.#spool.remove(payload.objectId);
    }
  }
}

/** The job type's name. @throws ArrwError INVALID_ARGUMENT, or what keeps the library from being known */
function checked(request: SubmitJobRequest, library: Library, streamed: boolean): string {
  const type = streamed ? { name: "batch_import" } : jobTypeOf(request.spec);
  const shape = library instanceof ArrwError || !library ? undefined : shapeOf(library.library);
  const violations = [...checkSubmit(request, { library: shape, streamed }), ...embeddingViolations(request)];
  if (violations.length > 0) throw invalidArgument(violations);
  if (library instanceof ArrwError) throw library;
  return type?.name ?? "";
}

/** What is wrong with the embedding that a regenerate_embeddings asks for; its defaults are the providers' matter. */
function embeddingViolations({ spec }: SubmitJobRequest): readonly Violation[] {
  if (spec?.spec?.$case !== "regenerateEmbeddings" || !spec.spec.value.embedding) return [];
  try {
    completeEmbeddingConfig(spec.spec.value.embedding);
    return [];
  } catch (error) {
    const { violations } = toArrwError(error);
    return violations.map((each) => ({ ...each, field: `spec.regenerate_embeddings.${each.field}` }));
  }
}

/** The request as the scheduler keeps it: with the library's id, without documents and ids; as it came if that is the same. */
function handedOn(received: ReceivedSubmit, library: Library, spec?: SubmitJobRequest["spec"]): Uint8Array {
  const { request } = received;
  const libraryId = library && !(library instanceof ArrwError) ? library.library.libraryId : "";
  const kept = spec ?? withoutDocuments(request.spec);
  const same = libraryId === request.libraryId && kept === request.spec;
  const bytes = same
    ? received.bytes
    : SubmitJobRequest.encode({ ...request, libraryId, spec: kept }).finish();
  if (bytes.length > MAX_REQUEST_BYTES) {
    const description = `at most 24,576 bytes without documents; got ${bytes.length}`;
    throw invalidArgument([{ field: "spec", description }]);
  }
  return bytes;
}

function isInvalid(error: unknown): boolean {
  return error instanceof ArrwError && error.code === "INVALID_ARGUMENT";
}

function digestOf(request: SubmitJobRequest): RequestDigest {
  const digest = new RequestDigest();
  digest.add(canonicalRequest(request));
  const spec = request.spec?.spec;
  if (spec?.$case === "batchImport") {
    for (const document of spec.value.documents) digest.add(canonicalDocument(document));
  } else if (spec?.$case === "batchDelete") {
    for (const documentId of spec.value.documentIds) digest.add(Buffer.from(documentId));
  }
  return digest;
}

function encodeSubmissions(submissions: readonly Submission[], scope: string): Buffer {
  const writer = new BinaryWriter();
  for (const { jobId, request, type, digest, payload, libraryIds = [] } of submissions) {
    writer.uint32(10).fork();
    writer.uint32(10).string(jobId).uint32(18).bytes(request).uint32(26).string(type);
    if (digest) writer.uint32(34).bytes(digest);
    if (payload.objectId !== "") {
      writer.uint32(42).string(payload.objectId);
      writer.uint32(48).int64(payload.items).uint32(56).int64(payload.bytes);
    }
    if (scope !== "") writer.uint32(66).string(scope);
    for (const libraryId of libraryIds) writer.uint32(74).string(libraryId);
    writer.join();
  }
  const bytes = writer.finish();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The only job of a reply, as SubmitJobResponse or ImportDocumentsResponse has it. @throws ArrwError its error */
export function onlyJob(reply: Uint8Array): Buffer {
  const [result] = fieldBytes(reply, 1);
  if (!result) throw new ArrwError("INTERNAL", "the scheduler answered without a result");
  const error = lastFieldBytes(result, RESULT.error);
  if (error) throw asError(SubmitError.decode(error));
  // SubmitJobsResult, SubmitJobResponse and ImportDocumentsResponse have their job in the same field.
  return Buffer.from(result.buffer, result.byteOffset, result.byteLength);
}

const CODES = new Map(Object.entries(ErrorCode).map(([name, code]) => [code as number, name as ErrorCode]));

function asError({ code, message, violations, reason }: SubmitError): ArrwError {
  const name = CODES.get(code) ?? "UNKNOWN";
  return new ArrwError(name, message, { violations, ...(reason === "" ? {} : { reason }) });
}

/** The results of all requests, in order: of the scheduler where there is no error. */
export function mergedResults(outcomes: readonly (Submission | ArrwError)[], reply: Uint8Array): Buffer {
  const results = fieldBytes(reply, 1);
  const failed = outcomes.length - results.length;
  const writer = new BinaryWriter();
  let next = 0;
  for (const outcome of outcomes) {
    const bytes = outcome instanceof ArrwError ? encodeError(outcome, failed) : results[next++];
    writer.uint32(10).bytes(bytes ?? new Uint8Array());
  }
  return Buffer.from(writer.finish());
}

/** The more requests failed, the less is said of each: the reply stays a few MB. */
function encodeError({ code, message, violations, reason }: ArrwError, failed: number): Uint8Array {
  const shown = Math.max(1, Math.floor(MAX_VIOLATIONS_IN_REPLY / failed));
  const value = {
    code: ErrorCode[code],
    message: message.slice(0, MAX_ERROR_CHARACTERS),
    violations: violations.slice(0, shown),
    reason,
  };
  return SubmitJobsResult.encode({ outcome: { $case: "error", value } }).finish();
}
