import type { Database } from "lmdb";
import { LRUCache } from "lru-cache";
import type { Metric } from "./domain/score.ts";
import type { KeyRange } from "./store.ts";

/**
 * The live vectors of a set, packed in blocks of consecutive keys, read from LMDB when asked for and kept in a
 * cache that all indexes of a thread share. Brute force, the not yet indexed tail and the adds to the index all read
 * here, so that each vector is read once.
 */

const BLOCK_BYTES = 2 * 1024 * 1024;

export interface Block {
  /** Keys base .. base + span - 1 belong here. */
  readonly base: number;
  readonly span: number;
  /** Live rows: the first `count` of `rows` and `keys`, in no order. */
  count: number;
  readonly keys: Float64Array;
  readonly rows: Float32Array;
  /** Row of key base + i, -1 = not live. */
  readonly rowOf: Int32Array;
  readonly owner: VectorBlocks;
}

/** Blocks of all indexes of a thread, the least recently used leave. */
export class BlockCache {
  readonly #blocks: LRUCache<string, Block>;

  /** @param maxBytes of vectors in memory */
  constructor(maxBytes: number) {
    this.#blocks = new LRUCache({ maxSize: maxBytes, sizeCalculation: (block) => block.rows.byteLength });
  }

  get(owner: VectorBlocks, number: number): Block | undefined {
    return this.#blocks.get(`${owner.id}:${number}`);
  }

  set(owner: VectorBlocks, number: number, block: Block): void {
    this.#blocks.set(`${owner.id}:${number}`, block);
  }

  /** Whether one more would push another out. */
  isFull(bytes: number): boolean {
    return this.#blocks.calculatedSize + bytes > this.#blocks.maxSize;
  }

  bytesOf(owner: VectorBlocks): number {
    let bytes = 0;
    for (const block of this.#blocks.values()) if (block.owner === owner) bytes += block.rows.byteLength;
    return bytes;
  }

  drop(owner: VectorBlocks): void {
    for (const [key, block] of [...this.#blocks.entries()])
      if (block.owner === owner) this.#blocks.delete(key);
  }
}

let nextId = 1;

export class VectorBlocks {
  readonly #vectors: Database<Buffer, number>;
  readonly #dimensions: number;
  readonly #metric: Metric;
  /** Keys in a block: about 2 MB of vectors. */
  readonly #span: number;
  readonly #cache: BlockCache;
  readonly id = nextId++;

  constructor(vectors: Database<Buffer, number>, dimensions: number, metric: Metric, cache: BlockCache) {
    this.#vectors = vectors;
    this.#dimensions = dimensions;
    this.#metric = metric;
    this.#span = Math.min(4_096, Math.max(32, Math.floor(BLOCK_BYTES / (dimensions * 4))));
    this.#cache = cache;
  }

  /** Memory its blocks take now. */
  get bytes(): number {
    return this.#cache.bytesOf(this);
  }

  /** Blocks that hold the keys from .. through. */
  numbers(from: number, through: number): number[] {
    const first = Math.floor(from / this.#span);
    const last = Math.floor(through / this.#span);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
  }

  /** A block, kept for the next one who asks. */
  get(number: number): Block {
    const cached = this.#cache.get(this, number);
    if (cached) return cached;
    const block = this.#load(number);
    this.#cache.set(this, number, block);
    return block;
  }

  /**
   * A block on the way through all of them. In a full cache it takes nobody's place: a scan of more than the cache holds
   * would else push out each block just before it comes to it.
   */
  passing(number: number): Block {
    const cached = this.#cache.get(this, number);
    if (cached) return cached;
    return this.#cache.isFull(this.#span * this.#dimensions * 4) ? this.#load(number) : this.get(number);
  }

  /** Frees its blocks. */
  close(): void {
    this.#cache.drop(this);
  }

  #load(number: number): Block {
    const span = this.#span;
    const block: Block = {
      base: number * span,
      span,
      count: 0,
      keys: new Float64Array(span),
      rows: new Float32Array(span * this.#dimensions),
      rowOf: new Int32Array(span).fill(-1),
      owner: this,
    };
    this.#read(block, [block.base, span]);
    return block;
  }

  /** Vectors in the set. */
  get stored(): number {
    return (this.#vectors.getStats() as { readonly entryCount: number }).entryCount;
  }

  /** Takes new vectors into the blocks in memory; it may come late, never too often. */
  add(range: KeyRange): void {
    this.#eachCached(range, (block, part) => this.#read(block, part));
  }

  /** Takes removed ones out of them. */
  remove(ranges: readonly KeyRange[]): void {
    for (const range of ranges) this.#eachCached(range, (block, part) => this.#drop(block, part));
  }

  /** The vector of a live key; undefined = it is gone. Valid until the next call. */
  row(key: number): Float32Array | undefined {
    const block = this.#cache.get(this, Math.floor(key / this.#span));
    if (block) {
      const row = block.rowOf[key - block.base] as number;
      return row < 0 ? undefined : this.rowAt(block, row);
    }
    const bytes = this.#vectors.getBinaryFast(key);
    if (!bytes) return undefined;
    const row = new Float32Array(this.#dimensions);
    this.#copy(bytes, row);
    return row;
  }

  rowAt(block: Block, row: number): Float32Array {
    return this.rowsAt(block, row, 1);
  }

  rowsAt(block: Block, first: number, count: number): Float32Array {
    return block.rows.subarray(first * this.#dimensions, (first + count) * this.#dimensions);
  }

  #eachCached([first, count]: KeyRange, visit: (block: Block, part: KeyRange) => void): void {
    if (count <= 0) return;
    for (const number of this.numbers(first, first + count - 1)) {
      const block = this.#cache.get(this, number);
      if (!block) continue;
      const from = Math.max(first, block.base);
      const to = Math.min(first + count, block.base + block.span);
      visit(block, [from, to - from]);
    }
  }

  /** Appends the live vectors of the range that the block doesn't have. */
  #read(block: Block, [first, count]: KeyRange): void {
    for (let key = first; key < first + count; key++) {
      const place = key - block.base;
      if ((block.rowOf[place] as number) >= 0) continue;
      const bytes = this.#vectors.getBinaryFast(key);
      if (!bytes) continue;
      const row = block.count++;
      block.keys[row] = key;
      block.rowOf[place] = row;
      this.#copy(bytes, this.rowAt(block, row));
    }
  }

  /** The last row takes the place of a dropped one, so that rows stay dense. */
  #drop(block: Block, [first, count]: KeyRange): void {
    for (let key = first; key < first + count; key++) {
      const row = block.rowOf[key - block.base] as number;
      if (row < 0) continue;
      block.rowOf[key - block.base] = -1;
      const last = --block.count;
      if (row === last) continue;
      const moved = block.keys[last] as number;
      block.keys[row] = moved;
      block.rowOf[moved - block.base] = row;
      this.rowAt(block, row).set(this.rowAt(block, last));
    }
  }

  /** LMDB lends a buffer that is longer than the value, until the next read. */
  #copy(bytes: Uint8Array, row: Float32Array): void {
    new Uint8Array(row.buffer, row.byteOffset, row.byteLength).set(bytes.subarray(0, row.byteLength));
    if (this.#metric === "cos") fitNorm(row);
  }
}

const FIT_BELOW = 1e-3;
const FIT_ABOVE = 1e3;

/**
 * Scales a vector of an extreme length to length 1, in place: single precision sums (and f16) would over- or underflow.
 * For the cosine alone, which doesn't see the length.
 */
export function fitNorm(row: Float32Array): void {
  let sum = 0;
  for (let i = 0; i < row.length; i++) sum += (row[i] as number) * (row[i] as number);
  const norm = Math.sqrt(sum);
  if (norm === 0 || (norm >= FIT_BELOW && norm <= FIT_ABOVE)) return;
  for (let i = 0; i < row.length; i++) row[i] = (row[i] as number) / norm;
}
