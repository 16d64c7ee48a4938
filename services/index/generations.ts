import { ArrwError } from "../../platform/errors.ts";
import type { LibraryRow } from "./catalog.ts";
import { durably, type GenerationRow, readState, type Store, writeSnapshot } from "./store.ts";

/** Rows of a library's generations. */

/** The set of vectors that a library is created with. */
const FIRST_SET = "vectors";
/** Committed before the next write, but not waited for: a crash only means that it is written again. */
const NO_SYNC_FLUSH = 0x10000;

/** Makes the row of a new library's first generation, also in a store of before there were any. */
export function ensureGeneration(store: Store, library: LibraryRow): void {
  const { generation } = readState(store);
  if (store.generations.doesExist(generation)) return;
  const { id: _id, name: _name, number: _number, ...shape } = library;
  const row: GenerationRow = { ...shape, generation, vectors: FIRST_SET };
  store.env.transactionSync(() => void store.generations.put(generation, row), NO_SYNC_FLUSH);
}

/** The one that answers searches. */
export function liveGeneration(store: Store): GenerationRow {
  const { generation } = readState(store);
  const row = store.generations.get(generation);
  if (!row) throw new Error(`generation ${generation} has no row`);
  return row;
}

/** Names of the sets that have a generation: a removed chunk leaves all of them. */
export function vectorSetsInUse(store: Store): Set<string> {
  return new Set([...store.generations.getRange()].map(({ value }) => value.vectors));
}

/** The highest key that a set has all vectors up to. */
export function lastKeyOf(store: Store, set: string, { nextKey } = readState(store)): number {
  const last = nextKey - 1;
  return Math.min(last, store.vectorSets.get(set)?.through ?? last);
}

/** @throws EMBEDDING_CHANGED */
export function assertEmbedding({ embeddingId }: GenerationRow, given: string): void {
  if (given === embeddingId) return;
  throw new ArrwError(
    "ABORTED",
    `the library's embedding is ${embeddingId}, not ${JSON.stringify(given.slice(0, 64))}`,
    { reason: "EMBEDDING_CHANGED", metadata: { embedding_id: embeddingId } },
  );
}

/** Sets of vectors are few and used again: LMDB has no way to close one that other threads have open. */
const SETS = [FIRST_SET, "vectors-1", "vectors-2", "vectors-3"];

/** One that is empty and that no generation has; undefined = those of earlier generations are being emptied yet. */
export function freeVectorSet(store: Store): string | undefined {
  const used = vectorSetsInUse(store);
  const empty = (name: string): boolean => store.vectors(name).getKeysCount({ limit: 1 }) === 0;
  return SETS.find((name) => !used.has(name) && !store.vectorSets.get(name)?.removed && empty(name));
}

/** Inside a transaction: forgets a generation; its files and vectors are removed by who calls. */
export function forgetGeneration(store: Store, generation: number): void {
  const row = store.generations.get(generation);
  if (!row) return;
  store.generations.remove(generation);
  writeSnapshot(store, generation, undefined);
  if (!vectorSetsInUse(store).has(row.vectors)) store.vectorSets.put(row.vectors, { removed: true });
}

/** Removed rows per transaction. */
const EMPTIED_AT_ONCE = 500;

/** Empties the sets that no generation has any more, in small transactions. */
export async function emptyRemovedSets(store: Store, signal: AbortSignal): Promise<void> {
  for (const { key: name, value } of [...store.vectorSets.getRange()]) {
    if (!value.removed) continue;
    const set = store.vectors(name);
    for (;;) {
      if (signal.aborted) return;
      const keys = [...set.getKeys({ limit: EMPTIED_AT_ONCE })];
      if (keys.length === 0) break;
      await store.env.transaction(() => {
        for (const key of keys) set.remove(key);
      });
    }
    await durably(store.env, () => store.vectorSets.remove(name));
  }
}
