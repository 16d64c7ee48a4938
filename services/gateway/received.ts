import type { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import {
  ImportDocumentsRequest,
  JobServiceService,
  SubmitJobRequest,
} from "../../proto/gen/arrwdb/v1/jobs.ts";
import { fieldBytes, lastFieldBytes } from "./wire.ts";

/**
 * Requests that are handed on keep the bytes they came as, beside what was decoded from them for the checks: the
 * scheduler and the worker get them without another encoding.
 */

export interface ReceivedSubmit {
  readonly bytes: Uint8Array;
  readonly request: SubmitJobRequest;
}

export interface ReceivedDocument {
  readonly bytes: Uint8Array;
  /** undefined: too large to be looked at. */
  readonly document: Document | undefined;
}

export type ReceivedImport =
  | { readonly header: ReceivedSubmit; readonly document?: undefined }
  | { readonly header?: undefined; readonly document: ReceivedDocument }
  | { readonly header?: undefined; readonly document?: undefined };

/** Largest document of a stream, encoded. */
export const MAX_DOCUMENT_BYTES = 4_000_000;

const FIELD = { requests: 1, header: 1, document: 2, spec: 3, batchImport: 1, documents: 1 } as const;

function readSubmit(bytes: Uint8Array): ReceivedSubmit {
  return { bytes, request: SubmitJobRequest.decode(bytes) };
}

function readImport(bytes: Uint8Array): ReceivedImport {
  const document = lastFieldBytes(bytes, FIELD.document);
  if (document && document.length > MAX_DOCUMENT_BYTES) {
    return { document: { bytes: document, document: undefined } };
  }
  const { message } = ImportDocumentsRequest.decode(bytes);
  const header = lastFieldBytes(bytes, FIELD.header);
  if (message?.$case === "header" && header) return { header: { bytes: header, request: message.value } };
  if (message?.$case === "document" && document) {
    return { document: { bytes: document, document: message.value } };
  }
  return {};
}

/** The documents of a unary import as they came, in order. */
export function documentBytes(submit: ReceivedSubmit): Uint8Array[] {
  const spec = lastFieldBytes(submit.bytes, FIELD.spec);
  const batchImport = spec && lastFieldBytes(spec, FIELD.batchImport);
  return batchImport ? fieldBytes(batchImport, FIELD.documents) : [];
}

/** JobService with these requests as they are received. */
export const ReceivingJobService = {
  ...JobServiceService,
  submitJob: { ...JobServiceService.submitJob, requestDeserialize: (bytes: Buffer) => readSubmit(bytes) },
  submitJobs: {
    ...JobServiceService.submitJobs,
    requestDeserialize: (bytes: Buffer) => fieldBytes(bytes, FIELD.requests).map(readSubmit),
  },
  importDocuments: {
    ...JobServiceService.importDocuments,
    requestDeserialize: (bytes: Buffer) => readImport(bytes),
  },
};
