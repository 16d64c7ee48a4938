import { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import { canonicalDocument } from "./domain/digest.ts";
import { fieldSpans } from "./wire.ts";

const METADATA_FIELD = 4;

/**
 * The bytes by which a document of a stream counts in its request's digest. Metadata is the only map in it, so all else
 * counts as it came and isn't decoded.
 */
export function documentDigest(bytes: Uint8Array): Uint8Array {
  try {
    return sortedMetadata(bytes);
  } catch {
    // Not a document: that is for the worker to say.
    return bytes;
  }
}

function sortedMetadata(bytes: Uint8Array): Uint8Array {
  const [metadata, ...more] = fieldSpans(bytes, METADATA_FIELD);
  if (!metadata) return bytes;
  // A field that comes twice is merged, which only a decoder knows how to do.
  if (more.length > 0) return canonicalDocument(Document.decode(bytes));
  const { start, end } = metadata;
  const sorted = canonicalDocument(Document.decode(bytes.subarray(start, end)));
  return Buffer.concat([bytes.subarray(0, start), sorted, bytes.subarray(end)]);
}
