import { type Database, open, type RootDatabase } from "lmdb";
import type { BuildResultRow, BuildRow, PreviousRow } from "./build-rows.ts";
import type { Metric } from "./domain/score.ts";
import type { Scalar } from "./usearch-index.ts";

/**
 * One library's LMDB environment. The main thread alone writes; vector and snapshot threads open the same folder and
 * read. Keys of chunks and vectors are one counter from 1 that never goes back, so "what an index hasn't got yet" is
 * always the range above the highest key it added.
 */

export interface DocumentRow {
  readonly title: string;
  readonly author: string;
  readonly tags: readonly string[];
  readonly sourceUrl: string;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** Chunk n has key firstKey + n. */
  readonly firstKey: number;
  readonly chunks: number;
}

/** [document_id, ordinal in the document, text]. */
export type ChunkRow = readonly [string, number, string];

/** Keys first .. first + count - 1. */
export type KeyRange = readonly [first: number, count: number];

/** One mutation: what a reader of the log has to forget and to take in. */
export interface ChangeRow {
  readonly added: KeyRange;
  readonly removed: readonly KeyRange[];
  /** Vectors removed since the library began, this change included. */
  readonly removedTotal: number;
}

/** The events of one change, by the change's number. A store of an older version has none for its first changes. */
export interface EventRow {
  readonly atMs: number;
  /** The generation that is live after it. */
  readonly generation: number;
  /** Document ids. */
  readonly upserted: readonly string[];
  readonly deleted: readonly string[];
  readonly generationEvent?: "generation.swapped" | "generation.rolled_back";
  /** Events since the first row, this row's included. */
  readonly total: number;
}

/** What vectors are made by. */
export interface Embedding {
  readonly provider: string;
  readonly model: string;
  readonly dimensions: number;
}

/** What an index is made of. */
export interface IndexShape {
  readonly embedding: Embedding;
  readonly indexType: "hnsw" | "flat";
  readonly metric: Metric;
  readonly scalar: Scalar;
  readonly connectivity: number;
  readonly expansionAdd: number;
  readonly expansionSearch: number;
}

/** One index of the library: the live one, the one before it, or one that is being built. */
export interface GenerationRow extends IndexShape {
  readonly generation: number;
  /** Hash of the embedding. */
  readonly embeddingId: string;
  /** Name of the set that holds its vectors. */
  readonly vectors: string;
  readonly createdAtMs: number;
}

/** A set of vectors that is being filled or emptied. */
export interface VectorSetRow {
  /** Every live chunk up to this key has its vector in the set; not there = up to the last. */
  readonly through?: number;
  /** No generation has it any more. */
  readonly removed?: boolean;
}

/** Written in the transaction of every mutation. */
export interface StateRow {
  /** The live one. */
  readonly generation: number;
  /** The highest number that a generation ever had; not there = 1. */
  readonly lastGeneration?: number;
  readonly documents: number;
  readonly chunks: number;
  /** The next chunk's key. */
  readonly nextKey: number;
  /** Number of the last change. */
  readonly change: number;
  /** Vectors removed since the library began. */
  readonly removedTotal: number;
}

/** The file that a restart loads, and how far it reaches. */
export interface SnapshotRow {
  readonly file: string;
  readonly generation: number;
  /** Every live vector up to this key is in it. */
  readonly addedThrough: number;
  /** Removals up to this change are in it. */
  readonly change: number;
  readonly removedTotal: number;
  readonly size: number;
  readonly tombstones: number;
  readonly bytes: number;
  readonly sha256: string;
}

export interface StoredFence {
  readonly lease: string;
  readonly open: boolean;
  readonly atMs: number;
}

export interface Store {
  readonly env: RootDatabase;
  readonly documents: Database<DocumentRow, Buffer>;
  readonly chunks: Database<ChunkRow, number>;
  readonly changes: Database<ChangeRow, number>;
  readonly events: Database<EventRow, number>;
  readonly fences: Database<StoredFence, Buffer>;
  readonly state: Database<StateRow, string>;
  /** By generation, in digits; what an older version wrote is under "current". */
  readonly snapshots: Database<SnapshotRow, string>;
  readonly generations: Database<GenerationRow, number>;
  /** By name; one without a row has every vector. */
  readonly vectorSets: Database<VectorSetRow, string>;
  readonly builds: Database<BuildRow, string>;
  /** By run and job id. */
  readonly buildResults: Database<BuildResultRow, Buffer>;
  readonly previous: Database<PreviousRow, string>;
  /** Chunk keys by the hash of their text; of libraries whose embeddings are paid for. */
  readonly hashes: Database<number, Buffer>;
  /** The vectors of a set by chunk key: little-endian float32. */
  vectors(set: string): Database<Buffer, number>;
}

export const EMPTY_STATE: StateRow = {
  generation: 1,
  documents: 0,
  chunks: 0,
  nextKey: 1,
  change: 0,
  removedTotal: 0,
};

/** Key of what there is one of. */
export const CURRENT = "current";

const MAX_DATABASES = 32;

export function openStore(folder: string): Store {
  const env = open({ path: folder, maxDbs: MAX_DATABASES });
  const vectors = new Map<string, Database<Buffer, number>>();
  return {
    env,
    documents: env.openDB({ name: "documents", keyEncoding: "binary" }),
    chunks: env.openDB({ name: "chunks" }),
    changes: env.openDB({ name: "changes" }),
    events: env.openDB({ name: "events" }),
    fences: env.openDB({ name: "fences", keyEncoding: "binary" }),
    state: env.openDB({ name: "state" }),
    snapshots: env.openDB({ name: "snapshots" }),
    generations: env.openDB({ name: "generations" }),
    vectorSets: env.openDB({ name: "vector-sets" }),
    builds: env.openDB({ name: "builds" }),
    buildResults: env.openDB({ name: "build-results", keyEncoding: "binary" }),
    previous: env.openDB({ name: "previous" }),
    hashes: env.openDB({ name: "hashes", keyEncoding: "binary" }),
    vectors: (set) => {
      const known = vectors.get(set) ?? env.openDB<Buffer, number>({ name: set, encoding: "binary" });
      vectors.set(set, known);
      return known;
    },
  };
}

export function readState(store: Store): StateRow {
  return store.state.get(CURRENT) ?? EMPTY_STATE;
}

/** Inside a transaction. */
export function writeState(store: Store, state: StateRow): void {
  store.state.put(CURRENT, state);
}

/** @param generation the live one unless told otherwise */
export function readSnapshot(
  store: Store,
  generation = readState(store).generation,
): SnapshotRow | undefined {
  const row = store.snapshots.get(String(generation));
  if (row) return row;
  const older = store.snapshots.get(CURRENT);
  return older?.generation === generation ? older : undefined;
}

/** Inside a transaction; undefined = there is none. */
export function writeSnapshot(store: Store, generation: number, row: SnapshotRow | undefined): void {
  if (store.snapshots.get(CURRENT)?.generation === generation) store.snapshots.remove(CURRENT);
  if (row) store.snapshots.put(String(generation), row);
  else store.snapshots.remove(String(generation));
}

/**
 * Runs `write` in a transaction and returns once it is on the disk. All of it or nothing: a throw takes back what this
 * one wrote. Those that gather in one turn of the loop share a commit.
 */
export async function durably<T>(env: RootDatabase, write: () => T): Promise<T> {
  const result = (await env.childTransaction(write)) as T;
  await env.flushed;
  return result;
}
