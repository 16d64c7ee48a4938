import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { SubmitJobRequest } from "../../../proto/gen/arrwdb/v1/jobs.ts";

/**
 * The bytes that tell a repeated request from another one under the same request_id. Encoders put the entries of maps
 * in any order, some in a random one: here they are sorted.
 */

/** The request without its documents and ids. */
export function canonicalRequest(request: SubmitJobRequest): Uint8Array {
  return SubmitJobRequest.encode({
    ...request,
    spec: withoutDocuments(request.spec),
    labels: sortedObject(request.labels) as Record<string, string>,
  }).finish();
}

/** One document of the request, or of the stream behind it. */
export function canonicalDocument(document: Document): Uint8Array {
  if (!document.metadata) return Document.encode(document).finish();
  const metadata = sorted(document.metadata) as Record<string, unknown>;
  return Document.encode({ ...document, metadata }).finish();
}

/** The spec as a job keeps it: without documents and ids. */
export function withoutDocuments(spec: SubmitJobRequest["spec"]): SubmitJobRequest["spec"] {
  const kind = spec?.spec;
  if (kind?.$case === "batchImport" && kind.value.documents.length > 0) {
    return { ...spec, spec: { $case: "batchImport", value: { ...kind.value, documents: [] } } };
  }
  if (kind?.$case === "batchDelete" && kind.value.documentIds.length > 0) {
    return { ...spec, spec: { $case: "batchDelete", value: { ...kind.value, documentIds: [] } } };
  }
  return spec;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return sortedObject(value as Record<string, unknown>);
}

function sortedObject(object: Record<string, unknown>): Record<string, unknown> {
  const keys = Object.keys(object).sort();
  return Object.fromEntries(keys.map((key) => [key, sorted(object[key])]));
}
