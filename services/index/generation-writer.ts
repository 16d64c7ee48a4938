import { buildNotFound } from "./build-errors.ts";
import { type BuildResultRow, type BuildRow, readBuild, readPrevious, writeResult } from "./build-rows.ts";
import { rememberTexts } from "./build-vectors.ts";
import { EVENT } from "./event-log.ts";
import { forgetGeneration } from "./generations.ts";
import type { FenceClaim, LibraryWriter } from "./library-writer.ts";
import { CURRENT, durably, type GenerationRow, readState, type Store, writeState } from "./store.ts";

/** The mutations of a library's generations, each one transaction with its fence check. */
export class GenerationWriter {
  readonly #store: Store;
  readonly #writer: LibraryWriter;

  constructor(store: Store, writer: LibraryWriter) {
    this.#store = store;
    this.#writer = writer;
  }

  /**
   * A new generation that is being built.
   * @param make its row by its number
   * @param empty its set of vectors has none yet
   * @throws LEASE_FENCED
   */
  begin(
    claim: FenceClaim,
    build: Omit<BuildRow, "generation" | "jobId" | "lease">,
    make: (generation: number) => GenerationRow,
    empty: boolean,
  ): Promise<{ readonly build: BuildRow; readonly generation: GenerationRow }> {
    const store = this.#store;
    return durably(store.env, () => {
      this.#writer.assertFence(claim);
      const state = readState(store);
      const number = Math.max(state.lastGeneration ?? 1, state.generation) + 1;
      writeState(store, { ...state, lastGeneration: number });
      const generation = make(number);
      store.generations.put(number, generation);
      if (empty) store.vectorSets.put(generation.vectors, { through: 0 });
      const row = { ...build, jobId: claim.jobId, lease: claim.lease.toString(), generation: number };
      store.builds.put(CURRENT, row);
      return { build: row, generation };
    });
  }

  /** The build goes on under another lease of its job. @throws LEASE_FENCED */
  adopt(claim: FenceClaim, build: BuildRow): Promise<BuildRow> {
    return durably(this.#store.env, () => {
      this.#writer.assertFence(claim);
      const row = { ...build, lease: claim.lease.toString() };
      this.#store.builds.put(CURRENT, row);
      return row;
    });
  }

  /** @throws LEASE_FENCED, BUILD_NOT_FOUND when it was dropped meanwhile */
  addVectors(
    claim: FenceClaim,
    target: GenerationRow,
    through: number,
    vectors: readonly (readonly [key: number, vector: Buffer])[],
  ): Promise<void> {
    const store = this.#store;
    return durably(store.env, () => {
      this.#writer.assertFence(claim);
      // A set that was given up must stay empty: the next build takes it.
      if (readBuild(store)?.generation !== target.generation) throw buildNotFound(claim);
      const rows = store.vectors(target.vectors);
      const there = vectors.filter(([key]) => store.chunks.doesExist(key));
      for (const [key, vector] of there) rows.put(key, vector);
      rememberTexts(
        store,
        target,
        there.map(([key]) => key),
      );
      // Of two calls side by side the one that brings less may come last.
      const before = store.vectorSets.get(target.vectors)?.through ?? 0;
      store.vectorSets.put(target.vectors, { through: Math.max(before, through) });
    });
  }

  /**
   * Makes a build the live generation.
   * @returns false = its set of vectors lacks some that were stored meanwhile; nothing happened
   * @throws LEASE_FENCED
   */
  swap(claim: FenceClaim, build: BuildRow, result: BuildResultRow, expiresAtMs: number): Promise<boolean> {
    const store = this.#store;
    return durably(store.env, () => {
      this.#writer.assertFence(claim);
      const { vectors } = store.generations.get(build.generation) as GenerationRow;
      const through = store.vectorSets.get(vectors)?.through;
      if (through !== undefined && chunksAfter(store, through, 1) > 0) return false;
      store.vectorSets.remove(vectors);
      const { generation: old, nextKey } = readState(store);
      const older = readPrevious(store);
      if (older) forgetGeneration(store, older.generation);
      store.previous.put(CURRENT, { generation: old, expiresAtMs, nextKey });
      store.builds.remove(CURRENT);
      writeResult(store, build.jobId, build.run, result);
      this.#writer.recordGeneration(EVENT.swapped, build.generation);
      return true;
    });
  }

  /** Takes a build away. @param result what its job is told from here on */
  drop(build: BuildRow, result?: BuildResultRow): Promise<void> {
    const store = this.#store;
    return durably(store.env, () => {
      if (readBuild(store)?.generation === build.generation) store.builds.remove(CURRENT);
      forgetGeneration(store, build.generation);
      if (result) writeResult(store, build.jobId, build.run, result);
    });
  }

  /** What came of a job that needs no build. @throws LEASE_FENCED */
  record({ jobId, lease }: FenceClaim, run: number, result: BuildResultRow): Promise<void> {
    return durably(this.#store.env, () => {
      this.#writer.assertFence({ jobId, lease });
      writeResult(this.#store, jobId, run, result);
    });
  }

  /**
   * Makes the previous generation live again and forgets the one that was, and a build on other vectors: writes would no
   * longer reach those.
   * @param ready inside the transaction: false = it must not happen now
   * @param failed what the job of such a build is told
   */
  rollback(
    to: GenerationRow,
    ready: () => boolean,
    failed: (build: BuildRow, generation: GenerationRow) => BuildResultRow,
  ): Promise<boolean> {
    const store = this.#store;
    return durably(store.env, () => {
      const { generation: abandoned } = readState(store);
      if (readPrevious(store)?.generation !== to.generation || !ready()) return false;
      store.previous.remove(CURRENT);
      const build = readBuild(store);
      const building = build && store.generations.get(build.generation);
      if (build && building && building.vectors !== to.vectors) {
        store.builds.remove(CURRENT);
        forgetGeneration(store, build.generation);
        writeResult(store, build.jobId, build.run, failed(build, building));
      }
      forgetGeneration(store, abandoned);
      this.#writer.recordGeneration(EVENT.rolledBack, to.generation);
      return true;
    });
  }

  /** Forgets the previous generation if its time is over. @returns its number */
  async expire(nowMs: number): Promise<number | undefined> {
    const store = this.#store;
    const due = (): number | undefined => {
      const previous = readPrevious(store);
      return previous && previous.expiresAtMs <= nowMs ? previous.generation : undefined;
    };
    if (due() === undefined) return undefined;
    return durably(store.env, () => {
      const generation = due();
      if (generation === undefined) return undefined;
      store.previous.remove(CURRENT);
      forgetGeneration(store, generation);
      return generation;
    });
  }
}

/** Live chunks above a key, counted up to a limit. */
export function chunksAfter(store: Store, key: number, limit: number): number {
  return store.chunks.getKeysCount({ start: key + 1, limit });
}
