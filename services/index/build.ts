import { statfs } from "node:fs/promises";
import { measure } from "./build-measure.ts";
import type { BuildFigures, BuildRow } from "./build-rows.ts";
import { isWithin, largestValue } from "./domain/vector-bounds.ts";
import type { Generation } from "./generation.ts";
import { chunksAfter } from "./generation-writer.ts";
import { lastKeyOf } from "./generations.ts";
import type { LibraryIndex } from "./library-index.ts";
import type { DocumentWrite } from "./library-writer.ts";
import { readState, type Store } from "./store.ts";

export type BuildPhase = "embedding" | "building" | "verifying" | "ready";

/** Ends a build for good; its code is what the job fails with. */
export class BuildFailure extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface BuildOptions {
  readonly row: BuildRow;
  readonly generation: Generation;
  readonly store: Store;
  /** Folder of the index files. */
  readonly folder: string;
  /** The generation that answers now. */
  readonly live: () => Generation;
  /** It failed; called once. */
  readonly onFailed: (failure: BuildFailure) => void;
}

/** Chunks that may lack their vector when upserts are held for a swap. */
export const MAX_MISSING = 256;
/** An index with fewer vectors to add counts as caught up: writers wait for a build from then on. */
export const CAUGHT_UP = 1_024;
/** Vectors that a build adds for each that is written while it catches up. */
const PACE = 2;

/** A generation on its way: filled, measured, and then kept up with the library until it is swapped in or dropped. */
export class Build {
  readonly generation: Generation;
  readonly #options: BuildOptions;
  readonly #stop = new AbortController();
  /** Stored vectors before this key were there when it began. */
  readonly #firstKeys: number;
  /** undefined = any finite value will do, or each was looked at when it came. */
  readonly #largest: number | undefined;
  row: BuildRow;
  phase: BuildPhase;
  /** Set once it has failed, until its rows are gone. */
  failure: BuildFailure | undefined;
  #figures: Omit<BuildFigures, "buildSeconds"> | undefined;
  /** The key that must be added before the next write, were there a line of them. */
  #pacedThrough = 0;

  constructor(options: BuildOptions) {
    const { row, generation, store } = options;
    this.#options = options;
    this.row = row;
    this.generation = generation;
    this.phase = row.kind === "regenerate" ? "embedding" : "building";
    this.#firstKeys = readState(store).nextKey;
    const largest = largestValue(generation.row.metric, generation.row.scalar);
    this.#largest = row.kind !== "regenerate" && Number.isFinite(largest) ? largest : undefined;
  }

  /** Runs until it is ready; a failure is told. */
  start(): void {
    this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#fail(toFailure(error));
    });
  }

  #fail(failure: BuildFailure): void {
    this.failure ??= failure;
    this.#options.onFailed(failure);
  }

  get figures(): BuildFigures | undefined {
    const buildSeconds = Math.max(0, Date.now() - this.row.startedAtMs) / 1_000;
    return this.#figures && { ...this.#figures, buildSeconds };
  }

  /** Chunks without a vector, counted up to a few more than may be missing. */
  get missing(): number {
    const { store } = this.#options;
    const through = lastKeyOf(store, this.generation.row.vectors);
    return chunksAfter(store, through, MAX_MISSING + 1);
  }

  /** Stored vectors that its index hasn't got yet. */
  get behind(): number {
    return this.generation.index?.behind ?? Number.POSITIVE_INFINITY;
  }

  /** Something was committed. */
  changed(): void {
    this.generation.index?.changed();
  }

  /** Makes a writer wait when the build would else never catch up, or fall behind again. @throws the signal's reason */
  async admit(documents: readonly DocumentWrite[], signal: AbortSignal): Promise<void> {
    if (this.row.kind === "regenerate") return;
    this.#check(documents);
    const index = this.generation.index;
    const count = documents.reduce((sum, { texts }) => sum + texts.length, 0);
    if (!index) return;
    if (this.phase !== "building") return index.room(count, signal);
    if (index.progress.addedThrough < this.#firstKeys - 1) return;
    this.#pacedThrough = Math.max(this.#pacedThrough, index.progress.addedThrough) + PACE * count;
    const until = this.#pacedThrough;
    while (
      !this.#stop.signal.aborted &&
      this.phase === "building" &&
      index.behind > CAUGHT_UP / 2 &&
      index.progress.addedThrough < until - CAUGHT_UP
    ) {
      if (signal.aborted) throw signal.reason;
      await index.moved(AbortSignal.any([signal, this.#stop.signal]));
    }
  }

  /** A vector that the live generation takes and this one can't ends it. */
  #check(documents: readonly DocumentWrite[]): void {
    const max = this.#largest;
    if (max === undefined || this.#stop.signal.aborted) return;
    for (const { documentId, vectors } of documents) {
      const values = new Float32Array(vectors.length >> 2);
      new Uint8Array(values.buffer).set(vectors);
      if (isWithin(values, max)) continue;
      this.stop();
      this.#fail(outOfBounds(documentId, max));
      return;
    }
  }

  /** It is live: writers no longer wait for it as for a build. */
  leave(): void {
    this.#stop.abort();
  }

  /** It was told to end: nothing comes of it any more. */
  get stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Ends what it is doing; nothing is removed. */
  stop(): void {
    this.#stop.abort();
    this.generation.abandon();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const { generation } = this;
    const index = await generation.open();
    signal.throwIfAborted();
    while (this.missing > MAX_MISSING) await this.#next(index);
    this.phase = "building";
    await this.#checkStored(index);
    while (index.behind > CAUGHT_UP) await this.#next(index);
    await index.complete().catch(async (error: unknown) => {
      // usearch says nothing of a full disk: the file is found to be too short.
      const full = isDiskFull(error) || (await isFull(this.#options.folder, index.progress.indexBytes));
      throw new BuildFailure(full ? "DISK_FULL" : "SNAPSHOT_FAILED", messageOf(error));
    });
    signal.throwIfAborted();
    this.phase = "verifying";
    const { store, live } = this.#options;
    const figures = await measure(store, this.row, { generation, index }, live);
    signal.throwIfAborted();
    this.#figures = figures;
    const { recallAt10, sampleQueries } = figures;
    if (recallAt10 < this.row.minRecall)
      throw new BuildFailure(
        "RECALL_TOO_LOW",
        `recall@10 of the new index is ${recallAt10.toFixed(4)} on ${sampleQueries} queries, ` +
          `below the ${this.row.minRecall} asked for (the old index: ${figures.oldRecallAt10.toFixed(4)})`,
      );
    this.phase = "ready";
  }

  async #next(index: LibraryIndex): Promise<void> {
    await index.moved(this.#stop.signal);
    this.#stop.signal.throwIfAborted();
  }

  /** @throws VECTORS_OUT_OF_BOUNDS */
  async #checkStored(index: LibraryIndex): Promise<void> {
    const max = this.#largest;
    if (max === undefined) return;
    const key = await index.thread.keyBeyond(max);
    if (key === 0) return;
    const [documentId = ""] = this.#options.store.chunks.get(key) ?? [];
    throw outOfBounds(documentId, max);
  }
}

function outOfBounds(documentId: string, max: number): BuildFailure {
  return new BuildFailure(
    "VECTORS_OUT_OF_BOUNDS",
    `a vector of document ${JSON.stringify(documentId)} has values beyond -${max}..${max}, which the new index can't hold`,
  );
}

function toFailure(error: unknown): BuildFailure {
  if (error instanceof BuildFailure) return error;
  return new BuildFailure(isDiskFull(error) ? "DISK_FULL" : "BUILD_FAILED", messageOf(error));
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "ENOSPC";
}

async function isFull(folder: string, needed: number): Promise<boolean> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize < needed;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
