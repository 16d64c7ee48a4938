import { v5 as uuidv5, validate } from "uuid";
import { readDelimited } from "../../../platform/delimited.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import type { ChunkingOptions } from "../domain/chunking.ts";
import { type BadDocument, cutDocument, MAX_DOCUMENT_BYTES } from "../domain/document.ts";
import type { ImportCheckpoint } from "../domain/import-checkpoint.ts";

/** The payload of an import as batches of documents that are cut into chunks. */

export interface ImportDocument {
  readonly ordinal: number;
  /** With its id; texts are the chunks, vectors unset. */
  readonly document: Document;
  /** The client's, little-endian float32; undefined = to be embedded. */
  readonly vectors: Uint8Array | undefined;
}

export interface FailedDocument extends BadDocument {
  readonly ordinal: number;
  readonly documentId: string;
  readonly title: string;
}

export interface ImportBatch {
  readonly documents: ImportDocument[];
  readonly failed: FailedDocument[];
  /** Byte of the payload behind the batch. */
  readonly nextOffset: number;
  /** Documents of the payload up to there. */
  readonly nextOrdinal: number;
}

export interface ImportBatchesOptions {
  readonly jobId: string;
  readonly payload: AsyncIterable<Uint8Array>;
  readonly from: ImportCheckpoint;
  readonly chunking: ChunkingOptions;
  /** Bytes of one chunk's vector. */
  readonly vectorBytes: number;
  readonly maxChunks: number;
  /** Documents to import; the others are passed over. Default: all. */
  readonly isWanted?: ((ordinal: number) => boolean | Promise<boolean>) | undefined;
  readonly signal: AbortSignal;
}

const MAX_BATCH_BYTES = 2 * 1024 * 1024;
/** Bounds what a batch of nothing but bad documents may hold. */
const MAX_BATCH_DOCUMENTS = 1_000;

/** Gathers documents up to `maxChunks` chunks or about 2 MB; a larger document is a batch of its own. */
export async function* importBatches(options: ImportBatchesOptions): AsyncGenerator<ImportBatch> {
  const { payload, from, maxChunks, vectorBytes, isWanted, signal } = options;
  const namespace = documentNamespace(options.jobId);
  let nextOffset = from.nextOffset;
  let nextOrdinal = from.ordinal;
  let documents: ImportDocument[] = [];
  let failed: FailedDocument[] = [];
  let chunks = 0;
  let bytes = 0;
  const take = (): ImportBatch => {
    const batch = { documents, failed, nextOffset, nextOrdinal };
    documents = [];
    failed = [];
    chunks = 0;
    bytes = 0;
    return batch;
  };
  for await (const message of readDelimited(payload, from.nextOffset)) {
    if (signal.aborted) throw signal.reason;
    if (isWanted && !(await isWanted(nextOrdinal))) {
      nextOffset = message.nextOffset;
      nextOrdinal += 1;
      continue;
    }
    const read = readDocument(message.bytes, nextOrdinal, namespace, options.chunking);
    if ("reason" in read) failed.push(read);
    else {
      const count = read.document.texts.length;
      const size = message.bytes.length + count * vectorBytes;
      const full = chunks + count > maxChunks || bytes + size > MAX_BATCH_BYTES;
      if (full && documents.length > 0) yield take();
      documents.push(read);
      chunks += count;
      bytes += size;
    }
    nextOffset = message.nextOffset;
    nextOrdinal += 1;
    if (documents.length + failed.length >= MAX_BATCH_DOCUMENTS) yield take();
  }
  if (documents.length + failed.length > 0) yield take();
}

function readDocument(
  bytes: Uint8Array,
  ordinal: number,
  namespace: string,
  chunking: ChunkingOptions,
): ImportDocument | FailedDocument {
  if (bytes.length > MAX_DOCUMENT_BYTES) {
    const reason = `it has ${bytes.length} bytes; at most ${MAX_DOCUMENT_BYTES}`;
    return { ordinal, documentId: "", title: "", code: "DOCUMENT_TOO_LARGE", reason };
  }
  let document: Document;
  try {
    document = Document.decode(bytes);
  } catch (error) {
    const reason = `it is not a document: ${String(error)}`;
    return { ordinal, documentId: "", title: "", code: "INVALID_DOCUMENT", reason };
  }
  // The same in every attempt, so that a repeated batch replaces its documents and never doubles them.
  const documentId = document.documentId || uuidv5(String(ordinal), namespace);
  const cut = cutDocument(document, chunking);
  if ("reason" in cut) return { ordinal, documentId, title: document.title, ...cut };
  return {
    ordinal,
    document: { ...document, documentId, texts: cut.texts, vectors: [] },
    vectors: cut.vectors,
  };
}

/** UUIDv5 wants a UUID to hash in; job ids are, but need not be. */
function documentNamespace(jobId: string): string {
  return validate(jobId) ? jobId : uuidv5(jobId, uuidv5.URL);
}
