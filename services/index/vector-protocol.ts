import type { SnapshotRow } from "./store.ts";
import type { HnswParameters } from "./usearch-index.ts";

/** What the main thread says to vector and snapshot threads, and what they answer. Indexes go by numbers of the pool. */

export interface IndexSpec {
  /** Folder of its LMDB environment. */
  readonly storeFolder: string;
  /** Folder of its files. */
  readonly folder: string;
  /** The set that holds its vectors. */
  readonly vectors: string;
  readonly indexType: "hnsw" | "flat";
  readonly parameters: HnswParameters;
  /** Nobody searches it yet: adds go in at full speed until it is told to serve. */
  readonly building: boolean;
}

export interface NumberedSpec extends IndexSpec {
  /** Names the open index; never used again in this process. */
  readonly index: number;
}

/** Checked and ready to be loaded. */
export interface CheckedSnapshot {
  readonly path: string;
  readonly row: SnapshotRow;
}

export interface SearchSpec {
  /** hnsw = the index and the tail that it hasn't got yet; exact = all vectors; keys = those of `keys`. */
  readonly mode: "hnsw" | "exact" | "keys";
  readonly vector: Float32Array;
  readonly k: number;
  /** Candidates asked of the index. */
  readonly ef: number;
  readonly keys?: Float64Array;
}

/** Best first; distances in double precision from the stored vectors. */
export interface SearchResult {
  readonly keys: Float64Array;
  readonly distances: Float64Array;
}

/** How far an index has come. */
export interface Progress {
  /** Every live vector up to this key is in it. */
  readonly addedThrough: number;
  /** Removals up to this change are in it. */
  readonly change: number;
  readonly removedTotal: number;
  /** Live vectors in it. */
  readonly size: number;
  /** Removed ones that still take room. */
  readonly tombstones: number;
  /** Memory of the index, estimated: the binding tells no figure. About the size of its file. */
  readonly indexBytes: number;
  /** Memory of the vectors kept for brute force. */
  readonly blockBytes: number;
}

/** Answered once the thread has loaded its code. */
export interface Hello {
  readonly type: "hello";
}

export type VectorRequest =
  | Hello
  | { readonly type: "open"; readonly spec: NumberedSpec; readonly snapshot?: CheckedSnapshot }
  | { readonly type: "search"; readonly index: number; readonly search: SearchSpec }
  | { readonly type: "save"; readonly index: number; readonly path: string }
  /** As of now. */
  | { readonly type: "look"; readonly index: number }
  | (SampleRequest & { readonly type: "sample"; readonly index: number })
  | (ProbeRequest & { readonly type: "probe"; readonly index: number })
  | (RecallRequest & { readonly type: "recall"; readonly index: number })
  /** A key whose vector has a value beyond `max`; 0 = none. */
  | { readonly type: "beyond"; readonly index: number; readonly max: number }
  | { readonly type: "close"; readonly index: number };

/** Stored vectors as queries. */
export interface SampleRequest {
  /** Queries wanted. */
  readonly count: number;
  /** Fewer when that many take longer than `budgetMs`, but no fewer than this. */
  readonly least: number;
  readonly budgetMs: number;
  /** The same seed gives the same queries. */
  readonly seed: number;
  /** Neighbours of each. */
  readonly k: number;
}

export interface Sample {
  readonly keys: Float64Array;
  /** The true neighbours of each key, best first, `perKey` of them; 0 = there are no more. */
  readonly near: Float64Array;
  readonly perKey: number;
}

/** Searches as clients make them. */
export interface ProbeRequest {
  readonly keys: Float64Array;
  readonly k: number;
  readonly ef: number;
  readonly budgetMs: number;
}

export interface ProbeAnswer {
  /** k + 1 keys for each, itself among them; 0 = there are no more. */
  readonly found: Float64Array;
  /** Keys that were come to within the budget. */
  readonly probed: number;
  /** Duration of each search. */
  readonly ms: Float64Array;
}

export interface RecallRequest {
  readonly sample: Sample;
  readonly answer: ProbeAnswer;
  readonly k: number;
}

/** Answers by `id`; the others have none. */
export type ToVectorThread =
  | { readonly id: number; readonly request: VectorRequest }
  | { readonly type: "changed" | "serve"; readonly index: number };

export type FromThread =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly type: "progress"; readonly index: number; readonly progress: Progress };

export type SnapshotRequest =
  | Hello
  /** Checksum and structure of a file that is about to be loaded. */
  | {
      readonly type: "check";
      readonly path: string;
      readonly row: SnapshotRow;
      readonly parameters: HnswParameters;
    }
  /** Flushes, checks and renames a saved file. */
  | { readonly type: "seal"; readonly from: string; readonly to: string; readonly parameters: HnswParameters }
  /** Makes the next file from the one before and what the store has since. */
  | {
      readonly type: "build";
      readonly spec: NumberedSpec;
      readonly from: CheckedSnapshot;
      readonly path: string;
      /** Highest key to add. */
      readonly through: number;
    };

/** Without an answer. */
export interface CancelBuild {
  readonly type: "cancel";
  readonly index: number;
}

export type ToSnapshotThread = { readonly id: number; readonly request: SnapshotRequest } | CancelBuild;

/** What "seal" answers. */
export interface Sealed {
  readonly bytes: number;
  readonly sha256: string;
}
