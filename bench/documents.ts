import type { DocumentInput } from "../client/import-stream.ts";

/** Documents of one text and one vector: those of the rows `from` .. `from + count - 1`. */
export function* vectorDocuments(
  rows: Float32Array,
  count: number,
  dimensions: number,
  from = 0,
): Generator<DocumentInput> {
  for (let n = from; n < from + count; n++) {
    const packed = Buffer.from(rows.buffer, n * dimensions * 4, dimensions * 4);
    const text = `The text of document ${n}, long enough to look like one. `.repeat(4);
    yield {
      documentId: `document-${n}`,
      title: `Document ${n}`,
      texts: [text],
      vectors: [{ values: [], packed }],
    };
  }
}
