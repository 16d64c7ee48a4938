import { notFound } from "../../platform/errors.ts";
import type { Document, Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import { fieldsOf, isDocumentId } from "./document-scan.ts";
import { compileFilter, namedDocuments } from "./domain/filter.ts";
import { liveGeneration } from "./generations.ts";
import { documentRow } from "./library-writer.ts";
import type { DocumentRow, Store } from "./store.ts";

export interface DocumentPage {
  readonly documents: Document[];
  /** Id after which the next page begins; undefined = that was the last page. */
  readonly last: string | undefined;
}

/** A page ends after this long or this many bytes of text, full or not: a filter may pass next to nothing. */
const PAGE_MS = 20;
const PAGE_BYTES = 4 * 1024 * 1024;

export class DocumentReader {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** @throws DOCUMENT_NOT_FOUND */
  get(documentId: string, includeVectors: boolean): Document {
    if (!isDocumentId(documentId)) throw notFound("document", documentId);
    const row = documentRow(this.#store, documentId);
    return this.#message(documentId, row, true, includeVectors);
  }

  /** Which of the ids are there, by their places, and the title of each. */
  located(documentIds: readonly string[]): { places: number[]; titles: string[] } {
    const places: number[] = [];
    const titles: string[] = [];
    for (const [place, id] of documentIds.entries()) {
      const row = isDocumentId(id) ? this.#store.documents.get(Buffer.from(id)) : undefined;
      if (!row) continue;
      places.push(place);
      titles.push(row.title);
    }
    return { places, titles };
  }

  has(documentId: string): boolean {
    return isDocumentId(documentId) && this.#store.documents.doesExist(Buffer.from(documentId));
  }

  /** Documents by id (bytewise), those after `after`. */
  list(filter: Filter | undefined, after: string, pageSize: number, includeTexts: boolean): DocumentPage {
    const passes = compileFilter(filter ?? { all: [] });
    const documents: Document[] = [];
    const until = performance.now() + PAGE_MS;
    let bytes = 0;
    for (const { key, value } of this.#candidates(filter, after)) {
      const documentId = key.toString();
      if (passes(fieldsOf(documentId, value))) {
        const document = this.#message(documentId, value, includeTexts, false);
        documents.push(document);
        bytes += document.texts.reduce((sum, text) => sum + text.length, 200);
      }
      if (documents.length >= pageSize || bytes >= PAGE_BYTES || performance.now() > until)
        return { documents, last: documentId };
    }
    return { documents, last: undefined };
  }

  /** Rows after `after`, by id: all, or those that the filter names. */
  #candidates(filter: Filter | undefined, after: string): Iterable<{ key: Buffer; value: DocumentRow }> {
    const ids = filter && namedDocuments(filter);
    if (ids) return this.#named(ids, Buffer.from(after));
    const start = after === "" ? {} : { start: Buffer.from(after), exclusiveStart: true };
    return this.#store.documents.getRange(start);
  }

  *#named(ids: readonly string[], after: Buffer): Generator<{ key: Buffer; value: DocumentRow }> {
    const keys = ids.filter(isDocumentId).map((id) => Buffer.from(id));
    for (const key of keys.sort(Buffer.compare)) {
      const value = Buffer.compare(key, after) > 0 ? this.#store.documents.get(key) : undefined;
      if (value) yield { key, value };
    }
  }

  #message(documentId: string, row: DocumentRow, texts: boolean, vectors: boolean): Document {
    const keys = Array.from({ length: texts || vectors ? row.chunks : 0 }, (_, n) => row.firstKey + n);
    const set = vectors ? this.#store.vectors(liveGeneration(this.#store).vectors) : undefined;
    return {
      documentId,
      title: row.title,
      texts: texts ? keys.map((key) => this.#store.chunks.get(key)?.[2] ?? "") : [],
      metadata: row.metadata && { ...row.metadata },
      author: row.author,
      tags: [...row.tags],
      vectors: set ? keys.map((key) => ({ values: [], packed: Buffer.from(set.get(key) ?? []) })) : [],
      sourceUrl: row.sourceUrl,
    };
  }
}
