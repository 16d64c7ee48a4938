import { ArrwError } from "../../platform/errors.ts";
import type { LibraryRow } from "./catalog.ts";
import { type GenerationRow, readState, type Store } from "./store.ts";

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
