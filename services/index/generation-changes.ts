import { ArrwError, unavailable } from "../../platform/errors.ts";
import { type Build, CAUGHT_UP } from "./build.ts";
import type { BuildHost } from "./build-host.ts";
import { type BuildResultRow, type BuildRow, readPrevious } from "./build-rows.ts";
import { largestValue } from "./domain/vector-bounds.ts";
import type { Generation } from "./generation.ts";
import { removeFilesOf } from "./generation-files.ts";
import type { GenerationWriter } from "./generation-writer.ts";
import { emptyRemovedSets } from "./generations.ts";
import type { LibraryIndex } from "./library-index.ts";
import type { FenceClaim } from "./library-writer.ts";
import { type GenerationRow, readState } from "./store.ts";
import { copyVectors, copyVectorsNow } from "./vector-copy.ts";

/** Which generation is live: swaps, the way back, and the end of those that are no longer wanted. */
export class GenerationChanges {
  readonly #host: BuildHost;
  readonly #writer: GenerationWriter;
  readonly #stop = new AbortController();
  /** The generation that a rollback opens. */
  #returning: Generation | undefined;
  /** What goes on beside: last searches of old generations, removed files and vectors. */
  readonly #beside = new Set<Promise<void>>();
  #emptying: Promise<void> | undefined;

  constructor(host: BuildHost, writer: GenerationWriter) {
    this.#host = host;
    this.#writer = writer;
    if ([...host.store.vectorSets.getRange()].some(({ value }) => value.removed)) this.#empty();
  }

  get busy(): boolean {
    return this.#beside.size > 0 || this.#returning !== undefined;
  }

  /** The index that a rollback opens. */
  get returning(): LibraryIndex | undefined {
    return this.#returning?.index;
  }

  /** @returns false = it lacks vectors of chunks that were stored meanwhile @throws LEASE_FENCED */
  async swap(claim: FenceClaim, build: Build, result: BuildResultRow): Promise<boolean> {
    const { store, retentionMs, route } = this.#host;
    const old = this.#host.live();
    const older = readPrevious(store)?.generation;
    let swapped = false;
    await route(async () => {
      const expiresAtMs = Date.now() + retentionMs;
      swapped = await this.#writer.swap(claim, build.row, result, expiresAtMs);
      return swapped ? build.generation : undefined;
    });
    if (!swapped) return false;
    this.#run(old.close(true).then(() => (older === undefined ? undefined : this.#clear(older))));
    return true;
  }

  /**
   * Makes the previous generation live again.
   * @param failed what the job of a build on other vectors is told, which is gone with it
   * @throws NO_PREVIOUS_GENERATION, EMBEDDING_CHANGED
   */
  async rollback(failed: (build: BuildRow, generation: GenerationRow) => BuildResultRow): Promise<void> {
    const { store, newGeneration, route } = this.#host;
    const live = this.#host.live();
    const row = this.#previous();
    this.#assertSameEmbedding(row);
    // It may still be closing, after the swap that it was replaced by.
    await Promise.all(this.#beside);
    const generation = newGeneration(row, "building");
    this.#returning = generation;
    let done = false;
    try {
      const copies = row.vectors !== live.row.vectors && row.embeddingId === live.row.embeddingId;
      const copied = copies ? { from: live.row.vectors, to: row.vectors } : undefined;
      if (copied) await copyVectors(store, copied, readPrevious(store)?.nextKey ?? 1, this.#stop.signal);
      await this.#prepare(generation);
      await route(async () => {
        const ready = (): boolean => {
          if (copied) copyVectorsNow(store, copied);
          return row.embeddingId === live.row.embeddingId || !this.#wroteSince();
        };
        done = await this.#writer.rollback(row, ready, failed);
        return done ? generation : undefined;
      });
      if (!done) this.#assertSameEmbedding(this.#previous());
    } finally {
      this.#returning = undefined;
      if (!done) await generation.discard();
    }
    // What was copied in the transaction is yet to be added.
    generation.index?.changed();
    this.#run(live.close(false).then(() => this.#clear(live.row.generation)));
  }

  /** A generation is gone: removes its files, and its vectors unless another one has them. */
  forget(generation: Generation | undefined, number: number): Promise<void> {
    const gone = generation ? generation.discard() : Promise.resolve();
    return this.#run(gone.then(() => this.#clear(number)));
  }

  /** Forgets the previous generation if its time is over. */
  async expire(nowMs: number): Promise<void> {
    const generation = await this.#writer.expire(nowMs);
    if (generation !== undefined) await this.forget(undefined, generation);
  }

  /** Ends what goes on; what isn't done is done after the next start. */
  abandon(): void {
    this.#stop.abort(unavailable("the library is being closed", { retryAfterMs: 500 }));
    this.#returning?.abandon();
  }

  async close(): Promise<void> {
    this.abandon();
    while (this.#beside.size > 0) await Promise.all(this.#beside);
  }

  #previous(): GenerationRow {
    const { store } = this.#host;
    const previous = readPrevious(store);
    const row = previous && store.generations.get(previous.generation);
    if (!row || previous.expiresAtMs <= Date.now())
      throw new ArrwError("FAILED_PRECONDITION", "the library has no generation before this one", {
        reason: "NO_PREVIOUS_GENERATION",
      });
    return row;
  }

  #wroteSince(): boolean {
    const { store } = this.#host;
    return readState(store).nextKey !== readPrevious(store)?.nextKey;
  }

  #assertSameEmbedding(row: GenerationRow): void {
    if (row.embeddingId === this.#host.live().row.embeddingId || !this.#wroteSince()) return;
    throw new ArrwError(
      "FAILED_PRECONDITION",
      "the generation before this one has another embedding, and documents were written since the swap",
      { reason: "EMBEDDING_CHANGED" },
    );
  }

  /** Opens it, and brings it up to now with a file that a restart can begin with. */
  async #prepare(generation: Generation): Promise<void> {
    const { signal } = this.#stop;
    const index = await generation.open();
    while (index.behind > CAUGHT_UP) {
      await index.moved(signal);
      signal.throwIfAborted();
    }
    const { metric, scalar } = generation.row;
    const max = largestValue(metric, scalar);
    const key = Number.isFinite(max) ? await index.thread.keyBeyond(max) : 0;
    if (key !== 0)
      throw new ArrwError(
        "FAILED_PRECONDITION",
        `vectors written since the swap have values beyond -${max}..${max}, which that generation can't hold`,
        { reason: "VECTORS_OUT_OF_BOUNDS" },
      );
    await index.complete();
  }

  async #clear(generation: number): Promise<void> {
    await removeFilesOf(generation, this.#host.folder);
    this.#empty();
  }

  #empty(): void {
    const { store } = this.#host;
    // One that is marked while others are emptied is not seen by that round.
    this.#emptying = (this.#emptying ?? Promise.resolve()).then(() =>
      emptyRemovedSets(store, this.#stop.signal),
    );
    void this.#run(this.#emptying);
  }

  #run(work: Promise<void>): Promise<void> {
    const settled = work
      .catch((error: unknown) => this.#host.log.error({ err: error }, "an old generation isn't removed yet"))
      .finally(() => this.#beside.delete(settled));
    this.#beside.add(settled);
    return settled;
  }
}
