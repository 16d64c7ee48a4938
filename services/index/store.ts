import { type Database, open, type RootDatabase } from "lmdb";

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

/** Written in the transaction of every mutation. */
export interface StateRow {
  readonly generation: number;
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
  readonly vectors: Database<Buffer, number>;
  readonly changes: Database<ChangeRow, number>;
  readonly fences: Database<StoredFence, Buffer>;
  readonly state: Database<StateRow, string>;
  readonly snapshots: Database<SnapshotRow, string>;
}

export const EMPTY_STATE: StateRow = {
  generation: 1,
  documents: 0,
  chunks: 0,
  nextKey: 1,
  change: 0,
  removedTotal: 0,
};

const CURRENT = "current";

export function openStore(folder: string): Store {
  const env = open({ path: folder, maxDbs: 12 });
  return {
    env,
    documents: env.openDB({ name: "documents", keyEncoding: "binary" }),
    chunks: env.openDB({ name: "chunks" }),
    vectors: env.openDB({ name: "vectors", encoding: "binary" }),
    changes: env.openDB({ name: "changes" }),
    fences: env.openDB({ name: "fences", keyEncoding: "binary" }),
    state: env.openDB({ name: "state" }),
    snapshots: env.openDB({ name: "snapshots" }),
  };
}

export function readState(store: Store): StateRow {
  return store.state.get(CURRENT) ?? EMPTY_STATE;
}

/** Inside a transaction. */
export function writeState(store: Store, state: StateRow): void {
  store.state.put(CURRENT, state);
}

export function readSnapshot(store: Store): SnapshotRow | undefined {
  return store.snapshots.get(CURRENT);
}

/** Inside a transaction; undefined = there is none. */
export function writeSnapshot(store: Store, row: SnapshotRow | undefined): void {
  if (row) store.snapshots.put(CURRENT, row);
  else store.snapshots.remove(CURRENT);
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
