import type { Document, Vector } from "../../../proto/gen/arrwdb/v1/document.ts";
import { type ChunkingOptions, chunkSpans } from "./chunking.ts";

/** What an import makes of one document. */

/** A document cut into chunks. */
export interface CutDocument {
  readonly texts: string[];
  /** The client's vectors, one per text: little-endian float32; undefined = to be embedded. */
  readonly vectors: Uint8Array | undefined;
}

/**
 * Why a document is not imported, for programs. DOCUMENT_REFUSED: the index says so; EMBEDDING_INPUT_REFUSED: the
 * embedding provider does, of one of its texts.
 */
export type BadDocumentCode =
  | "INVALID_DOCUMENT"
  | "INVALID_VECTORS"
  | "DOCUMENT_TOO_LARGE"
  | "EMBEDDING_INPUT_REFUSED"
  | "DOCUMENT_REFUSED";

/** A document that can't be imported; the others go on. */
export interface BadDocument {
  readonly code: BadDocumentCode;
  /** For people. */
  readonly reason: string;
}

/** Bounds of the public contract. */
export const MAX_DOCUMENT_BYTES = 4_000_000;
export const MAX_TEXTS = 10_000;
/** Chunks that one document may become. */
export const MAX_CHUNKS = 10_000;
/** Their characters in all: a large overlap multiplies a text. */
export const MAX_CHUNK_CHARACTERS = 16_000_000;

const DEFAULT_CHUNK_SIZE = 1_000;
const DEFAULT_CHUNK_OVERLAP = 100;

/** The spec's fields with their defaults: 1,000 characters, of them 100 (at most half) overlap. */
export function chunkingOptions(spec: {
  readonly chunkSize: number;
  readonly chunkOverlap?: number | undefined;
}): ChunkingOptions {
  const size = spec.chunkSize > 0 ? spec.chunkSize : DEFAULT_CHUNK_SIZE;
  const overlap = spec.chunkOverlap ?? Math.min(DEFAULT_CHUNK_OVERLAP, Math.floor(size / 2));
  return { size, overlap: Math.max(0, Math.min(overlap, size - 1)) };
}

/** Checks a document and cuts its texts; with vectors each text stays whole. */
export function cutDocument(document: Document, options: ChunkingOptions): CutDocument | BadDocument {
  const { texts, vectors } = document;
  if (texts.length === 0) return { code: "INVALID_DOCUMENT", reason: "it has no texts" };
  if (texts.length > MAX_TEXTS)
    return { code: "DOCUMENT_TOO_LARGE", reason: `it has ${texts.length} texts; at most ${MAX_TEXTS}` };
  const empty = texts.indexOf("");
  if (empty >= 0) return { code: "INVALID_DOCUMENT", reason: `texts[${empty}] is empty` };
  if (vectors.length > 0) return withVectors(texts, vectors);
  const chunks: string[] = [];
  let characters = 0;
  for (const text of texts) {
    for (const { start, end } of chunkSpans(text, options)) {
      if (chunks.length === MAX_CHUNKS)
        return { code: "DOCUMENT_TOO_LARGE", reason: `it has more than ${MAX_CHUNKS} chunks` };
      characters += end - start;
      if (characters > MAX_CHUNK_CHARACTERS) {
        return {
          code: "DOCUMENT_TOO_LARGE",
          reason: `its chunks have more than ${MAX_CHUNK_CHARACTERS} characters; overlap less`,
        };
      }
      chunks.push(text.slice(start, end));
    }
  }
  return { texts: chunks, vectors: undefined };
}

function withVectors(texts: readonly string[], vectors: readonly Vector[]): CutDocument | BadDocument {
  if (vectors.length !== texts.length) {
    return {
      code: "INVALID_VECTORS",
      reason: `it has ${vectors.length} vectors for ${texts.length} texts; one each, or none`,
    };
  }
  const rows = vectors.map(packed);
  const length = rows[0]?.length ?? 0;
  for (const [index, row] of rows.entries()) {
    if (row.length === 0) return { code: "INVALID_VECTORS", reason: `vectors[${index}] is empty` };
    if (row.length % 4 !== 0) {
      return {
        code: "INVALID_VECTORS",
        reason: `vectors[${index}].packed has ${row.length} bytes: not whole float32 numbers`,
      };
    }
    if (row.length !== length) {
      return {
        code: "INVALID_VECTORS",
        reason: `vectors[${index}] has ${row.length / 4} dimensions, vectors[0] has ${length / 4}`,
      };
    }
  }
  const all = joined(rows, length);
  const infinite = firstInfinite(new Float32Array(all.buffer, all.byteOffset, all.length / 4));
  if (infinite >= 0) {
    return {
      code: "INVALID_VECTORS",
      reason: `vectors[${Math.floor((infinite * 4) / length)}] has a number that is not finite`,
    };
  }
  return { texts: [...texts], vectors: all };
}

/** One after the other, at an address where float32 may be. A single one that is there already isn't copied. */
function joined(rows: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = rows;
  if (only && rows.length === 1 && only.byteOffset % 4 === 0) return only;
  const all = new Uint8Array(rows.length * length);
  for (const [index, row] of rows.entries()) all.set(row, index * length);
  return all;
}

/** Place of the first NaN or Infinity, -1 = there is none. */
function firstInfinite(values: Float32Array): number {
  // Times 0 each of them is NaN, and so is the sum: a pass without a branch, several times faster than a search.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) * 0;
  return sum === 0 ? -1 : values.findIndex((value) => !Number.isFinite(value));
}

/** The numbers as the machine has them, which is little-endian on x64 and arm64. */
function packed({ packed: bytes, values }: Vector): Uint8Array {
  return bytes.length > 0 ? bytes : new Uint8Array(new Float32Array(values).buffer);
}
