import { setImmediate as nextTurn } from "node:timers/promises";
import { LRUCache } from "lru-cache";
import type { Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import { compileFilter, type FilterFields, namedDocuments, type Predicate } from "./domain/filter.ts";
import { type DocumentRow, readState, type Store } from "./store.ts";

/** Let others run after this long. */
const YIELD_MS = 5;
/** Filters whose matches are remembered until the next change of the library. */
const REMEMBERED = 16;

export function fieldsOf(documentId: string, row: DocumentRow): FilterFields {
  const { title, author, tags, sourceUrl, metadata } = row;
  return { documentId, title, author, tags, sourceUrl, metadata };
}

/** Keys of the chunks of matching documents; a filter asked again gets them without a scan while nothing changed. */
export class DocumentScan {
  readonly #store: Store;
  readonly #remembered = new LRUCache<string, { readonly change: number; readonly keys: Float64Array }>({
    max: REMEMBERED,
    maxSize: 8 * 1024 * 1024,
    sizeCalculation: ({ keys }) => keys.byteLength + 64,
  });

  constructor(store: Store) {
    this.#store = store;
  }

  async matchingKeys(filter: Filter): Promise<Float64Array> {
    const { change } = readState(this.#store);
    const name = JSON.stringify(filter.all.map(({ field, test }) => [field, test]));
    const remembered = this.#remembered.get(name);
    if (remembered?.change === change) return remembered.keys;
    const predicate = compileFilter(filter);
    const ids = namedDocuments(filter);
    const keys = Float64Array.from(ids ? this.#among(ids, predicate) : await this.#amongAll(predicate));
    this.#remembered.set(name, { change, keys });
    return keys;
  }

  #among(ids: readonly string[], predicate: Predicate): number[] {
    return ids.flatMap((id) => {
      const row = isDocumentId(id) ? this.#store.documents.get(Buffer.from(id)) : undefined;
      return row && predicate(fieldsOf(id, row)) ? keysOf(row) : [];
    });
  }

  async #amongAll(predicate: Predicate): Promise<number[]> {
    const keys: number[] = [];
    let after: Buffer | undefined;
    for (;;) {
      const began = performance.now();
      const start = after ? { start: after, exclusiveStart: true } : {};
      let more = false;
      // A range that outlives its turn would keep its read transaction open: each turn begins a new one.
      for (const { key, value } of this.#store.documents.getRange(start)) {
        after = key;
        if (predicate(fieldsOf(key.toString(), value))) for (const each of keysOf(value)) keys.push(each);
        more = performance.now() - began > YIELD_MS;
        if (more) break;
      }
      if (!more) return keys;
      await nextTurn();
    }
  }
}

function keysOf({ firstKey, chunks }: DocumentRow): number[] {
  return Array.from({ length: chunks }, (_, n) => firstKey + n);
}

/** LMDB refuses a key that is empty or too long; no such document exists. */
export function isDocumentId(id: string): boolean {
  return id !== "" && Buffer.byteLength(id) <= MAX_DOCUMENT_ID_BYTES;
}

export const MAX_DOCUMENT_ID_BYTES = 512;
