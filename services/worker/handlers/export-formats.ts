import { stringify } from "csv-stringify/sync";
import type { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { shortFloat } from "../domain/short-float.ts";

/** How documents look in a file. */
export interface ExportFormat {
  /** What the file begins with. */
  readonly head: string;
  /** What it ends with. */
  readonly tail: string;
  /** @param first nothing but the head is before it */
  document(document: Document, first: boolean): string;
}

export const EXPORT_FORMATS = ["json", "ndjson", "csv"] as const;
export type ExportFormatName = (typeof EXPORT_FORMATS)[number];

/** Texts are the document's chunks; vectors, one for each, are there when documents carry them. */
export function exportFormat(name: ExportFormatName, withVectors: boolean): ExportFormat {
  switch (name) {
    case "json":
      return {
        head: "[",
        tail: "\n]\n",
        document: (document, first) => `${first ? "" : ","}\n${jsonOf(document, withVectors)}`,
      };
    case "ndjson":
      return { head: "", tail: "", document: (document) => `${jsonOf(document, withVectors)}\n` };
    case "csv":
      return {
        head: csv([withVectors ? [...CSV_COLUMNS, "embedding"] : CSV_COLUMNS]),
        tail: "",
        document: (document) => csv(rowsOf(document, withVectors)),
      };
  }
}

/** One row a chunk; the document's own fields are repeated. */
const CSV_COLUMNS = [
  "document_id",
  "chunk",
  "title",
  "author",
  "tags",
  "source_url",
  "metadata",
  "text",
] as const;

function rowsOf(document: Document, withVectors: boolean): string[][] {
  const { documentId, title, author, tags, sourceUrl, metadata, texts, vectors } = document;
  const tagged = tags.length === 0 ? "" : JSON.stringify(tags);
  const meta = metadata ? JSON.stringify(metadata) : "";
  return texts.map((text, n) => {
    const row = [documentId, String(n), title, author, tagged, sourceUrl, meta, text];
    return withVectors ? [...row, JSON.stringify(numbersOf(vectors[n]?.packed))] : row;
  });
}

/** RFC 4180: rows end with CR LF; a field with a comma, a quote or a line end is quoted. */
function csv(rows: readonly (readonly string[])[]): string {
  return stringify(rows as string[][], { record_delimiter: "windows", quoted_match: /[\r\n]/ });
}

function jsonOf(document: Document, withVectors: boolean): string {
  const { documentId, title, texts, metadata, author, tags, sourceUrl, vectors } = document;
  return JSON.stringify({
    document_id: documentId,
    title,
    texts,
    metadata,
    author,
    tags,
    source_url: sourceUrl,
    vectors: withVectors ? vectors.map(({ packed }) => numbersOf(packed)) : undefined,
  });
}

function numbersOf(packed: Uint8Array = new Uint8Array()): number[] {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  return Array.from({ length: packed.length / 4 }, (_, n) => shortFloat(view.getFloat32(4 * n, true)));
}
