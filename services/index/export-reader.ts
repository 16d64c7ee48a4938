import { setImmediate as nextTurn } from "node:timers/promises";
import { ArrwError } from "../../platform/errors.ts";
import type { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import {
  documentOfImage,
  type ExportImage,
  type ExportRow,
  type ExportRows,
  imageKey,
  imageOf,
} from "./export-rows.ts";

/** Pages of an export: documents that haven't changed since the pin, and images of those that have, by id. */

const PAGE_BYTES = 2 * 1024 * 1024;
const PAGE_DOCUMENTS = 1_000;
/** Below gRPC's bound of a message, 64 MiB. */
const MAX_DOCUMENT_BYTES = 60 * 1024 * 1024;
/** A turn, and with it a read transaction, takes no longer: long ones bloat LMDB for ever. */
const TURN_MS = 5;
const DOCUMENT_BYTES = 200;

interface Page {
  readonly documents: Document[];
  bytes: number;
  full: boolean;
}

/**
 * The next documents behind `after`.
 * @param vectorSet undefined = without vectors
 * @param alive asked after each turn; throws when the export is gone
 * @throws ArrwError FAILED_PRECONDITION, DOCUMENT_TOO_LARGE: with its vectors it doesn't fit into a message
 */
export async function readPage(
  rows: ExportRows,
  pinned: ExportRow,
  after: string,
  vectorSet: string | undefined,
  alive: () => void,
): Promise<Document[]> {
  const page: Page = { documents: [], bytes: 0, full: false };
  let cursor: Buffer = Buffer.from(after);
  for (;;) {
    const until = performance.now() + TURN_MS;
    let more = false;
    for (const { id, image } of merged(rows, pinned, cursor, vectorSet)) {
      if (image) add(page, id, image(), pinned.embedding.dimensions, vectorSet !== undefined);
      if (page.full) break;
      cursor = id;
      more = performance.now() > until;
      if (more) break;
    }
    if (!more) return page.documents;
    // A page that is about full need not wait for the end of a stretch of newer documents.
    if (page.bytes >= PAGE_BYTES / 2) return page.documents;
    await nextTurn();
    alive();
  }
}

function add(page: Page, id: Buffer, image: ExportImage, dimensions: number, withVectors: boolean): void {
  const document = documentOf(id.toString(), image, withVectors ? dimensions : undefined);
  const bytes = sizeOf(document, image);
  page.full =
    page.documents.length === PAGE_DOCUMENTS ||
    (page.documents.length > 0 && page.bytes + bytes > PAGE_BYTES);
  if (page.full) return;
  if (bytes > MAX_DOCUMENT_BYTES / 3) checkSize(document);
  page.documents.push(document);
  page.bytes += bytes;
}

interface Merged {
  readonly id: Buffer;
  /** undefined = it was written after the pin. */
  readonly image: (() => ExportImage) | undefined;
}

/** Both ranges side by side, in one turn. */
function* merged(
  rows: ExportRows,
  pinned: ExportRow,
  after: Buffer,
  vectorSet: string | undefined,
): Generator<Merged> {
  const { store, images } = rows;
  const { pin, nextKey } = pinned;
  const documents = store.documents
    .getRange(after.length > 0 ? { start: after, exclusiveStart: true } : {})
    [Symbol.iterator]();
  const kept = images
    .getRange({
      start: imageKey(pin, after),
      exclusiveStart: after.length > 0,
      end: imageKey(pin + 1, ""),
    })
    [Symbol.iterator]();
  try {
    let document = documents.next();
    let image = kept.next();
    while (!document.done || !image.done) {
      const id = document.done ? undefined : document.value.key;
      const imageId = image.done ? undefined : documentOfImage(image.value.key);
      const order = id === undefined ? 1 : imageId === undefined ? -1 : Buffer.compare(id, imageId);
      if (order < 0 && id && !document.done) {
        const row = document.value.value;
        const there = row.firstKey < nextKey;
        yield { id, image: there ? () => imageOf(store, row, vectorSet) : undefined };
      } else if (imageId && !image.done) {
        const { value } = image.value;
        yield { id: imageId, image: () => value };
        image = kept.next();
      }
      // What has an image was written again after the pin.
      if (order <= 0) document = documents.next();
    }
  } finally {
    documents.return?.();
    kept.return?.();
  }
}

function documentOf(documentId: string, { row, texts, vectors }: ExportImage, dimensions?: number): Document {
  const bytes = (dimensions ?? 0) * 4;
  return {
    documentId,
    title: row.title,
    texts: [...texts],
    metadata: row.metadata && { ...row.metadata },
    author: row.author,
    tags: [...row.tags],
    vectors:
      bytes === 0
        ? []
        : texts.map((_, n) => ({ values: [], packed: vectors.subarray(n * bytes, (n + 1) * bytes) })),
    sourceUrl: row.sourceUrl,
  };
}

/** It would fail each time that it is sent. */
function checkSize({ documentId, texts, vectors }: Document): void {
  const text = texts.reduce((sum, each) => sum + Buffer.byteLength(each) + 6, 0);
  const bytes = vectors.reduce((sum, { packed }) => sum + packed.length + 12, text);
  if (bytes <= MAX_DOCUMENT_BYTES) return;
  const [size, bound] = [bytes, MAX_DOCUMENT_BYTES].map((each) => each.toLocaleString("en-US"));
  const what = `document ${JSON.stringify(documentId)} has ${texts.length.toLocaleString("en-US")} chunks, ${size} bytes with vectors`;
  const message = `${what}; an export takes at most ${bound}: export without embeddings, or split the document`;
  throw new ArrwError("FAILED_PRECONDITION", message, { reason: "DOCUMENT_TOO_LARGE" });
}

/** About what it takes on the wire. */
function sizeOf({ texts, vectors, metadata }: Document, image: ExportImage): number {
  const text = texts.reduce((sum, each) => sum + each.length + 4, 0);
  const about = metadata ? JSON.stringify(metadata).length : 0;
  return DOCUMENT_BYTES + text + about + (vectors.length > 0 ? image.vectors.length : 0);
}
