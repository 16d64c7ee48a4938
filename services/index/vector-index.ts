import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Database } from "lmdb";
import { exactSearch } from "usearch";
import { indexMemoryBytes } from "./domain/index-memory.ts";
import { distanceTo } from "./domain/score.ts";
import { lastKeyOf } from "./generations.ts";
import { openStore, readState, type StateRow, type Store } from "./store.ts";
import { MAX_CANDIDATES, METRIC_KINDS, UsearchIndex } from "./usearch-index.ts";
import { type Block, type BlockCache, fitNorm, VectorBlocks } from "./vector-blocks.ts";
import type { CheckedSnapshot, NumberedSpec, Progress, SearchResult, SearchSpec } from "./vector-protocol.ts";

/**
 * One index as its thread sees it, with the blocks of its vectors and two cursors. `addedThrough` is the highest key offered
 * to the index, `change` the last change whose removals are in. A search takes the index for the keys up to
 * `addedThrough` and brute force for those above, so it sees everything committed before it, however far the index
 * lags.
 */

/** Adds go in until this much time is gone; then a search may come. */
const SLICE_MS = 3;
const ADDS_AT_ONCE = 4;
/** The same while nobody searches it. */
const BUILDING_SLICE_MS = 20;
const BUILDING_ADDS_AT_ONCE = 32;
const REMOVED_AT_ONCE = 1_000;
/** Brute force lets others in after this long. */
const YIELD_MS = 4;

export class VectorIndex {
  readonly spec: NumberedSpec;
  readonly #store: Store;
  readonly #index: UsearchIndex | undefined;
  readonly #blocks: VectorBlocks;
  #building: boolean;
  #addsAtOnce = BUILDING_ADDS_AT_ONCE;
  #closed = false;
  #addedThrough = 0;
  #change: number;
  #removedTotal: number;
  #tombstones = 0;
  /** Highest key whose vector is there, as of the last look. */
  #lastKey: number;

  constructor(spec: NumberedSpec, snapshot: CheckedSnapshot | undefined, cache: BlockCache) {
    this.spec = spec;
    this.#building = spec.building;
    this.#store = openStore(spec.storeFolder);
    const { dimensions, metric } = spec.parameters;
    this.#blocks = new VectorBlocks(this.#store.vectors(spec.vectors), dimensions, metric, cache);
    this.#index = spec.indexType === "hnsw" ? new UsearchIndex(spec.parameters) : undefined;
    const state = readState(this.#store);
    this.#lastKey = lastKeyOf(this.#store, spec.vectors);
    // Without a snapshot the index is filled from the live rows, so no earlier removal matters.
    this.#change = snapshot?.row.change ?? state.change;
    this.#removedTotal = snapshot?.row.removedTotal ?? state.removedTotal;
    if (!snapshot || !this.#index) return;
    try {
      this.#index.load(snapshot.path);
    } catch (error) {
      void this.#store.env.close();
      throw error;
    }
    this.#addedThrough = snapshot.row.addedThrough;
    this.#tombstones = snapshot.row.tombstones;
  }

  get blocks(): VectorBlocks {
    return this.#blocks;
  }

  get vectors(): Database<Buffer, number> {
    return this.#store.vectors(this.spec.vectors);
  }

  /** Highest key whose vector is there, as of the last look. */
  get lastKey(): number {
    return this.#lastKey;
  }

  /** The vector of a live key; undefined = it is gone. Valid until the next call. */
  vector(key: number): Float32Array | undefined {
    return this.#blocks.row(key);
  }

  /** From here on searches come. */
  serve(): void {
    this.#building = false;
  }

  /** Committed vectors that the index has yet to get. */
  get behind(): number {
    return this.#index ? this.#lastKey - this.#addedThrough : 0;
  }

  get progress(): Progress {
    const { spec } = this;
    const size = this.#index?.size ?? 0;
    const shape = { indexType: spec.indexType, ...spec.parameters };
    return {
      addedThrough: this.#index ? this.#addedThrough : this.#lastKey,
      change: this.#change,
      removedTotal: this.#removedTotal,
      size: this.#index ? size : this.#blocks.stored,
      tombstones: this.#tombstones,
      indexBytes: indexMemoryBytes(shape, size + this.#tombstones),
      blockBytes: this.#blocks.bytes,
    };
  }

  /** Takes in what was committed since the last look: removals at once, adds as work to do. */
  catchUp(): void {
    this.#store.env.resetReadTxn();
    const state = readState(this.#store);
    if (state.change !== this.#change && !this.#applyRemovals(state.change)) this.#reconcile(state);
    const lastKey = lastKeyOf(this.#store, this.spec.vectors, state);
    this.#blocks.add([this.#lastKey + 1, lastKey - this.#lastKey]);
    this.#lastKey = lastKey;
  }

  /** @returns false when the change log no longer goes back as far */
  #applyRemovals(through: number): boolean {
    const { changes } = this.#store;
    for (const { key, value } of changes.getRange({ start: this.#change + 1, end: through + 1 })) {
      if (key !== this.#change + 1) return false;
      const removed = value.removed.flatMap(([first, count]) =>
        Array.from({ length: count }, (_, i) => first + i).filter((each) => each <= this.#addedThrough),
      );
      if (this.#index) this.#tombstones += this.#index.remove(removed);
      this.#blocks.remove(value.removed);
      this.#change = key;
      this.#removedTotal = value.removedTotal;
    }
    return this.#change === through;
  }

  /** Removes what the set of vectors doesn't have, without the change log: every key that is missing there. */
  #reconcile(state: StateRow): void {
    this.#blocks.close();
    const index = this.#index;
    if (index) {
      let next = 1;
      const removeBefore = (end: number): void => {
        for (; next < end; next += REMOVED_AT_ONCE) {
          const count = Math.min(REMOVED_AT_ONCE, end - next);
          this.#tombstones += index.remove(Array.from({ length: count }, (_, i) => next + i));
        }
      };
      for (const key of this.vectors.getKeys({ end: this.#addedThrough + 1 })) {
        removeBefore(key);
        next = key + 1;
      }
      removeBefore(this.#addedThrough + 1);
    }
    this.#change = state.change;
    this.#removedTotal = state.removedTotal;
  }

  /** Adds for a few milliseconds, up to the key `limit`. */
  applySlice(limit = Number.MAX_SAFE_INTEGER): void {
    this.catchUp();
    const index = this.#index;
    if (!index) return;
    const until = performance.now() + (this.#building ? BUILDING_SLICE_MS : SLICE_MS);
    const end = Math.min(this.#lastKey, limit);
    while (this.#addedThrough < end) {
      this.#addFew(index, end);
      if (performance.now() >= until) return;
    }
  }

  /** Vectors that lie beside each other in their block go in as they are, without a copy. */
  #addFew(index: UsearchIndex, end: number): void {
    const from = this.#addedThrough + 1;
    const block = this.#blocks.get(this.#blocks.numbers(from, from)[0] as number);
    const blockEnd = Math.min(end, block.base + block.span - 1);
    const atOnce = this.#building ? this.#addsAtOnce : ADDS_AT_ONCE;
    const keys: number[] = [];
    let first = 0;
    let key = from;
    for (; key <= blockEnd && keys.length < atOnce; key++) {
      const row = block.rowOf[key - block.base] as number;
      if (row < 0) continue;
      if (keys.length === 0) first = row;
      else if (row !== first + keys.length) break;
      keys.push(key);
    }
    const began = performance.now();
    if (keys.length > 0) index.add(keys, this.#blocks.rowsAt(block, first, keys.length));
    // Nobody can ask or stop this thread meanwhile, so that slow adds go in by few.
    const slow = performance.now() - began > BUILDING_SLICE_MS;
    this.#addsAtOnce = slow
      ? Math.max(1, this.#addsAtOnce >> 1)
      : Math.min(BUILDING_ADDS_AT_ONCE, this.#addsAtOnce + 1);
    // usearch puts new vectors into the places of removed ones first.
    this.#tombstones = Math.max(0, this.#tombstones - keys.length);
    this.#addedThrough = key - 1;
  }

  async search(spec: SearchSpec): Promise<SearchResult> {
    this.catchUp();
    const query = spec.vector.slice();
    if (this.spec.parameters.metric === "cos") fitNorm(query);
    if (spec.mode === "keys") return this.#rank(spec.keys ?? new Float64Array(), query, spec.k);
    if (spec.mode === "exact" || !this.#index)
      return this.#rank(await this.#scan(query, spec.k, 1), query, spec.k);
    return this.#searchIndex(this.#index, query, spec);
  }

  async #searchIndex(index: UsearchIndex, query: Float32Array, spec: SearchSpec): Promise<SearchResult> {
    const wanted = Math.min(MAX_CANDIDATES, Math.max(spec.k, spec.ef));
    const fromIndex = index.search(query, wanted);
    const addedThrough = this.#addedThrough;
    const tail = addedThrough < this.#lastKey ? await this.#scan(query, spec.k, addedThrough + 1) : [];
    return this.#rank([...new Set([...fromIndex, ...tail])], query, spec.k);
  }

  /** Brute force over the keys from `from` on: the `k` nearest of every block, pruned now and then. */
  async #scan(query: Float32Array, k: number, from: number): Promise<number[]> {
    let found: Near[] = [];
    let turnBegan = performance.now();
    for (const number of this.#blocks.numbers(from, this.#lastKey)) {
      found.push(...this.#nearestIn(this.#blocks.passing(number), query, k));
      if (found.length > 4 * k + 4_096) found = nearest(found, k);
      if (performance.now() - turnBegan < YIELD_MS) continue;
      await nextTurn();
      this.assertOpen();
      this.catchUp();
      turnBegan = performance.now();
    }
    // A few more than k: single precision may have put close ones in the wrong order.
    return nearest(found, k + 16).map(({ key }) => key);
  }

  #nearestIn(block: Block, query: Float32Array, k: number): Near[] {
    if (block.count === 0) return [];
    const { dimensions, metric } = this.spec.parameters;
    // exactSearch reads from the start of the buffer, whatever the view says: rows begin there, and so must the query.
    const rows = block.rows.subarray(0, block.count * dimensions);
    const count = Math.min(k + 16, block.count);
    const { keys, distances } = exactSearch(rows, query, dimensions, count, METRIC_KINDS[metric], 1);
    return Array.from(keys, (row, i) => ({
      key: block.keys[Number(row)] as number,
      distance: distances[i] as number,
    }));
  }

  /** Exact distances of those that are still there; the best k. Ties go by key. */
  #rank(keys: Iterable<number>, query: Float32Array, k: number): SearchResult {
    const distance = distanceTo(this.spec.parameters.metric, query);
    const found: Near[] = [];
    for (const key of keys) {
      const row = this.#blocks.row(key);
      if (row) found.push({ key, distance: distance(row) });
    }
    const best = nearest(found, k);
    return {
      keys: Float64Array.from(best, ({ key }) => key),
      distances: Float64Array.from(best, ({ distance }) => distance),
    };
  }

  /** Blocks this thread while it writes: for small indexes only. */
  save(path: string): Progress {
    this.catchUp();
    if (!this.#index) throw new Error("a flat library has no index to save");
    this.#index.save(path);
    return this.progress;
  }

  /** Long work looks here after each turn: the store must not be read any more. @throws when it is closed */
  assertOpen(): void {
    if (this.#closed) throw new Error("the index was closed");
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#blocks.close();
    // Beside the snapshots: what a crash leaves there is removed by the next start.
    this.#index?.free(join(this.spec.folder, `${randomUUID()}.tmp`));
    await this.#store.env.close();
  }
}

interface Near {
  readonly key: number;
  readonly distance: number;
}

function nearest(found: Near[], k: number): Near[] {
  return found.sort((a, b) => a.distance - b.distance || a.key - b.key).slice(0, k);
}
