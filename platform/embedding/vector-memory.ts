import { LRUCache } from "lru-cache";
import { textHash } from "./text-hash.ts";

/** What an entry takes besides its vector, about. */
const ENTRY_BYTES = 250;

/** Vectors that providers have made lately, of whatever library: bounded in bytes, the least recently used go. */
export class VectorMemory {
  readonly #rows: LRUCache<string, Float32Array> | undefined;

  /** @param maxBytes 0 = it remembers nothing */
  constructor(maxBytes: number) {
    if (maxBytes === 0) return;
    this.#rows = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: (row) => row.byteLength + ENTRY_BYTES,
    });
  }

  /** @param embedding what made the vector: embedding and purpose */
  key(embedding: string, text: string): string {
    return embedding + textHash(text).toString("latin1");
  }

  get(key: string): Float32Array | undefined {
    return this.#rows?.get(key);
  }

  /** Keeps a copy. */
  set(key: string, row: Float32Array): void {
    this.#rows?.set(key, row.slice());
  }
}
