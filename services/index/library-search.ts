import type { Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import type { Hit } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { type DocumentScan, fieldsOf } from "./document-scan.ts";
import { compileFilter } from "./domain/filter.ts";
import { type Metric, scoreOf } from "./domain/score.ts";
import type { LibraryIndex } from "./library-index.ts";
import { type DocumentRow, readState, type Store } from "./store.ts";
import { MAX_CANDIDATES } from "./usearch-index.ts";
import type { SearchResult } from "./vector-protocol.ts";

export interface LibrarySearch {
  readonly vector: Float32Array;
  readonly k: number;
  readonly ef: number;
  readonly filter: Filter | undefined;
  readonly includeText: boolean;
  readonly exact: boolean;
}

/** Brute force on the matching chunks is quicker than the index up to this many, or this share of all. */
const SUBSET_CHUNKS = 3_000;
const SUBSET_SHARE = 0.05;
const OVERFETCH_MIN = 64;
const OVERFETCH_FACTOR = 1.3;
/** Concurrent deletions may take hits away; asked again this often at most. */
const ATTEMPTS = 2;

/** Searches one library: the index's candidates, filtered and with their documents. */
export class LibrarySearcher {
  readonly #store: Store;
  readonly #metric: Metric;
  readonly #scan: DocumentScan;

  constructor(store: Store, metric: Metric, scan: DocumentScan) {
    this.#store = store;
    this.#metric = metric;
    this.#scan = scan;
  }

  async search(index: LibraryIndex, search: LibrarySearch): Promise<Hit[]> {
    const { filter } = search;
    if (filter && filter.all.length > 0) return this.#filtered(index, search, filter);
    const { vector, k, ef, exact } = search;
    let hits: Hit[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const result = await index.search({ mode: exact ? "exact" : "hnsw", vector, k, ef });
      hits = this.#hits(result, search, () => true);
      if (hits.length >= Math.min(k, readState(this.#store).chunks)) return hits;
    }
    // Too few: the index was asked for too little around many removed ones.
    return exact ? hits : this.search(index, { ...search, exact: true });
  }

  /**
   * First the index with more candidates than asked for, which does for filters that many chunks pass. When too few of
   * them pass, all documents are looked at: brute force on a small subset, more candidates for a large one, and brute
   * force again when even those are too few.
   */
  async #filtered(index: LibraryIndex, search: LibrarySearch, filter: Filter): Promise<Hit[]> {
    const { vector, k, ef, exact } = search;
    const passes = compileFilter(filter);
    const among = async (candidates: number): Promise<Hit[]> => {
      const wanted = Math.min(MAX_CANDIDATES, Math.max(ef, Math.ceil(candidates)));
      const result = await index.search({ mode: "hnsw", vector, k: wanted, ef: wanted });
      return this.#hits(result, search, passes);
    };
    const { chunks } = readState(this.#store);
    if (!exact && chunks > SUBSET_CHUNKS) {
      const hits = await among(Math.max(OVERFETCH_MIN, OVERFETCH_FACTOR * k));
      if (hits.length >= k) return hits.slice(0, k);
    }
    const keys = await this.#scan.matchingKeys(filter);
    const few = keys.length <= Math.max(SUBSET_CHUNKS, SUBSET_SHARE * chunks);
    if (!exact && !few) {
      const needed = Math.max(OVERFETCH_MIN, (OVERFETCH_FACTOR * k * chunks) / keys.length);
      for (const candidates of [needed, 3 * needed].filter((each) => each <= MAX_CANDIDATES)) {
        const hits = await among(candidates);
        if (hits.length >= k) return hits.slice(0, k);
      }
    }
    const result = await index.search({ mode: "keys", vector, k, ef, keys: Float64Array.from(keys) });
    return this.#hits(result, search, passes);
  }

  /** Hits of chunks that are still there and whose document passes. */
  #hits(result: SearchResult, search: LibrarySearch, passes: ReturnType<typeof compileFilter>): Hit[] {
    const documents = new Map<string, DocumentRow | undefined>();
    const hits: Hit[] = [];
    for (let i = 0; i < result.keys.length && hits.length < search.k; i++) {
      const chunk = this.#store.chunks.get(result.keys[i] as number);
      if (!chunk) continue;
      const [documentId, ordinal, text] = chunk;
      if (!documents.has(documentId)) {
        const row = this.#store.documents.get(Buffer.from(documentId));
        documents.set(documentId, row && passes(fieldsOf(documentId, row)) ? row : undefined);
      }
      const row = documents.get(documentId);
      if (!row) continue;
      const distance = result.distances[i] as number;
      hits.push({
        documentId,
        chunkId: chunkId(documentId, ordinal),
        score: scoreOf(this.#metric, distance),
        distance,
        text: search.includeText ? text : "",
        title: row.title,
        metadata: row.metadata && { ...row.metadata },
      });
    }
    return hits.sort((a, b) => a.distance - b.distance || (a.chunkId < b.chunkId ? -1 : 1));
  }
}

/** The document's id, "#", and the chunk's place in the document, from 0. */
export function chunkId(documentId: string, ordinal: number): string {
  return `${documentId}#${ordinal}`;
}
