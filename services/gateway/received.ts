import { ArrwError } from "../../platform/errors.ts";
import { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import { JobServiceService, SubmitJobRequest } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { MAX_DOCUMENTS, MAX_REQUESTS } from "./domain/validation/submit.ts";
import { countAt, fieldBytes, lastFieldBytes, lastOfFields } from "./wire.ts";

/**
 * Requests that are handed on keep the bytes they came as, beside what was decoded from them for the checks: the
 * scheduler and the worker get them without another encoding. The documents of a stream are not decoded at all: the
 * worker does that, and one that is malformed fails alone.
 */

export interface ReceivedSubmit {
  readonly bytes: Uint8Array;
  readonly request: SubmitJobRequest;
}

export type ReceivedImport =
  | { readonly header: ReceivedSubmit; readonly document?: undefined }
  /** Encoded, of any size. */
  | { readonly header?: undefined; readonly document: Uint8Array }
  | { readonly header?: undefined; readonly document?: undefined };

/** Largest document of a stream, encoded. */
export const MAX_DOCUMENT_BYTES = 4_000_000;

/** `where`: which one it is, as its client counts. */
export function documentTooLarge(where: string, bytes: number): ArrwError {
  return new ArrwError(
    "RESOURCE_EXHAUSTED",
    `${where} has ${bytes} bytes; at most ${MAX_DOCUMENT_BYTES}: split its texts`,
    { reason: "DOCUMENT_TOO_LARGE" },
  );
}

const FIELD = { requests: 1, header: 1, document: 2, libraryId: 2, spec: 3 } as const;
/** Specs with an input of their own: their field in JobSpec, and the input's in them. */
const INPUT_FIELDS = {
  batchImport: { spec: 1, items: 1 },
  batchDelete: { spec: 5, items: 1 },
} as const;

/** Where the documents of a SubmitJobRequest are. */
const DOCUMENTS = [FIELD.spec, INPUT_FIELDS.batchImport.spec, INPUT_FIELDS.batchImport.items] as const;
/** In all requests of a SubmitJobs: a message has 8 MiB. */
const MAX_DOCUMENTS_OF_ALL = 200_000;
const VECTORS = [...DOCUMENTS, 7] as const;
/** A useful one has more than 20 bytes. */
const MAX_VECTORS_OF_ALL = 400_000;
/** Of a request or a document in a message: the tag and the length. */
const MIN_BYTES = 2;
const NO_DOCUMENT = Document.fromPartial({});

/**
 * An empty document has two bytes, and becomes an object of some hundred: of more than are taken only the number is read,
 * which is what they are refused by.
 */
function readSubmit(bytes: Uint8Array): ReceivedSubmit {
  checkVectors(bytes, VECTORS);
  const count = bytes.length < MIN_BYTES * MAX_DOCUMENTS ? 0 : countAt(bytes, DOCUMENTS);
  if (count <= MAX_DOCUMENTS) return { bytes, request: SubmitJobRequest.decode(bytes) };
  const documents = new Array<Document>(count).fill(NO_DOCUMENT);
  const spec = { $case: "batchImport", value: { documents, chunkSize: 0 } } as const;
  const libraryId = Buffer.from(lastOfFields(bytes, [FIELD.libraryId])?.bytes ?? []).toString();
  return { bytes, request: { ...SubmitJobRequest.fromPartial({ libraryId }), spec: { spec } } };
}

function checkVectors(bytes: Uint8Array, path: readonly number[]): void {
  if (bytes.length < MIN_BYTES * MAX_VECTORS_OF_ALL || countAt(bytes, path) <= MAX_VECTORS_OF_ALL) return;
  throw new ArrwError("INVALID_ARGUMENT", "more than 400,000 vectors in one call");
}

function readSubmits(bytes: Uint8Array): readonly ReceivedSubmit[] {
  const count = bytes.length < MIN_BYTES * MAX_REQUESTS ? 0 : countAt(bytes, [FIELD.requests]);
  if (count > MAX_REQUESTS) return new Array<ReceivedSubmit>(count);
  checkVectors(bytes, [FIELD.requests, ...VECTORS]);
  const mayHaveMany = bytes.length >= MIN_BYTES * MAX_DOCUMENTS_OF_ALL;
  if (mayHaveMany && countAt(bytes, [FIELD.requests, ...DOCUMENTS]) > MAX_DOCUMENTS_OF_ALL)
    throw new ArrwError("INVALID_ARGUMENT", "more than 200,000 documents in one call");
  return fieldBytes(bytes, FIELD.requests).map(readSubmit);
}

function readImport(bytes: Uint8Array): ReceivedImport {
  const last = lastOfFields(bytes, [FIELD.header, FIELD.document]);
  if (last?.field === FIELD.document) return { document: last.bytes };
  return last ? { header: readSubmit(last.bytes) } : {};
}

/** The documents of a unary import, or the ids of a deletion, as they came, in order; undefined: it has none. */
export function inputBytes({ request, bytes }: ReceivedSubmit): Uint8Array[] | undefined {
  const kind = request.spec?.spec?.$case;
  if (kind !== "batchImport" && kind !== "batchDelete") return undefined;
  const field = INPUT_FIELDS[kind];
  const spec = lastFieldBytes(bytes, FIELD.spec);
  const own = spec && lastFieldBytes(spec, field.spec);
  const items = own ? fieldBytes(own, field.items) : [];
  // A deletion by filter.
  return items.length === 0 && kind === "batchDelete" ? undefined : items;
}

/** JobService with these requests as they are received. */
export const ReceivingJobService = {
  ...JobServiceService,
  submitJob: { ...JobServiceService.submitJob, requestDeserialize: (bytes: Buffer) => readSubmit(bytes) },
  submitJobs: {
    ...JobServiceService.submitJobs,
    requestDeserialize: (bytes: Buffer) => readSubmits(bytes),
  },
  importDocuments: {
    ...JobServiceService.importDocuments,
    requestDeserialize: (bytes: Buffer) => readImport(bytes),
  },
};
