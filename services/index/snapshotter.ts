import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../platform/log.ts";
import type { ChangeLog } from "./change-log.ts";
import { snapshotName } from "./generation-files.ts";
import { durably, readSnapshot, type SnapshotRow, type Store, writeSnapshot } from "./store.ts";
import type { OpenIndex, VectorPool } from "./vector-pool.ts";
import type { CheckedSnapshot, IndexSpec, Progress } from "./vector-protocol.ts";

export interface SnapshotterOptions {
  readonly store: Store;
  readonly changeLog: ChangeLog;
  readonly generation: number;
  readonly spec: IndexSpec;
  readonly pool: VectorPool;
  readonly log: Logger;
  /** Changes a restart replays at most. */
  readonly snapshotChanges: number;
  /** Size up to which the serving thread writes its index itself, in bytes. */
  readonly ownSaveBytes: number;
}

/** How far something has come, as far as a restart is concerned. */
type Reach = Pick<Progress, "addedThrough" | "removedTotal">;

/** An index that nobody searches yet is saved whenever it has grown by this share. */
const BUILDING_SHARE = 0.25;
/** Wait after a snapshot that failed. */
const RETRY_MS = 5_000;

/**
 * The snapshot files of one generation; the change log goes back to the last of them. The LMDB rows are the truth:
 * whatever is wrong with a file, the index comes from them.
 */
export class Snapshotter {
  readonly #options: SnapshotterOptions;
  #row: SnapshotRow | undefined;
  #running: Promise<void> | undefined;
  #retryAtMs = 0;
  #closing = false;
  #discarding = false;
  #building: boolean;

  private constructor(options: SnapshotterOptions) {
    this.#options = options;
    this.#building = options.spec.building;
  }

  /** Finds the file to start from. One that can't be used is removed, with a warning. */
  static async open(options: SnapshotterOptions): Promise<Snapshotter> {
    const { store, spec, pool, generation } = options;
    const snapshotter = new Snapshotter(options);
    snapshotter.#row = spec.indexType === "hnsw" ? readSnapshot(store, generation) : undefined;
    const { checked } = snapshotter;
    const fault = checked && (await pool.checkSnapshot(checked.path, checked.row, spec.parameters));
    if (fault !== undefined) await snapshotter.discard(fault);
    return snapshotter;
  }

  /** The newest file; undefined = there is none. */
  get checked(): CheckedSnapshot | undefined {
    return this.#row && { path: join(this.#options.spec.folder, this.#row.file), row: this.#row };
  }

  /** The last change that a restart from the newest file has no need of. */
  get through(): number {
    return this.#row?.change ?? Number.POSITIVE_INFINITY;
  }

  /** The last attempt failed. */
  get failing(): boolean {
    return this.#retryAtMs > 0;
  }

  /** Index operations that a restart would have to repeat to come as far. */
  unsaved({ addedThrough, removedTotal }: Reach): number {
    if (this.#options.spec.indexType === "flat") return 0;
    // Without a file a restart adds the live rows alone.
    if (!this.#row) return Math.max(0, addedThrough - removedTotal);
    return addedThrough - this.#row.addedThrough + removedTotal - this.#row.removedTotal;
  }

  /** Forgets the newest file: the index is rebuilt from the stored vectors. */
  async discard(fault: string): Promise<void> {
    const { store, log, spec, generation } = this.#options;
    const file = this.#row?.file;
    log.warn({ file, fault }, "the snapshot can't be used; the index is rebuilt from the stored vectors");
    await durably(store.env, () => writeSnapshot(store, generation, undefined));
    this.#row = undefined;
    if (file !== undefined) await rm(join(spec.folder, file), { force: true, recursive: true });
  }

  /** Whether the next file should be made now. */
  isDue(progress: Progress): boolean {
    const { spec, snapshotChanges, changeLog } = this.#options;
    if (this.#running || this.#closing || Date.now() < this.#retryAtMs) return false;
    return spec.indexType === "flat"
      ? Math.min(progress.change, changeLog.trimmableThrough) - changeLog.trimmedThrough >= snapshotChanges
      : this.unsaved(progress) >=
          Math.max(snapshotChanges / 2, this.#building ? progress.size * BUILDING_SHARE : 0);
  }

  /** Makes the next file, or waits for the one that is being made. A failure is logged. */
  run(index: OpenIndex, progress: Progress): Promise<void> {
    const { spec, log, changeLog } = this.#options;
    this.#running ??= (spec.indexType === "flat" ? changeLog.trim() : this.#make(index, progress))
      .then(
        () => {
          this.#retryAtMs = 0;
        },
        (error: unknown) => {
          this.#retryAtMs = Date.now() + RETRY_MS;
          if (!this.#closing) log.error({ err: error }, "a snapshot failed; it is tried again");
        },
      )
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Makes a file of all that the index has, in its thread; from here on it is one that searches may come to. */
  async complete(index: OpenIndex): Promise<void> {
    const progress = await index.look();
    while (this.#running) await this.#running;
    if (this.#options.spec.indexType === "hnsw" && this.unsaved(progress) > 0) {
      const making = this.#make(index, progress);
      this.#running = making
        .catch(() => undefined)
        .finally(() => {
          this.#running = undefined;
        });
      await making;
    }
    this.#building = false;
  }

  /** Whatever is being made is thrown away when it is done. */
  discardAll(index: OpenIndex): void {
    this.#closing = true;
    this.#discarding = true;
    this.#options.pool.cancelBuild(index.spec.index);
  }

  /** Gives up a build; makes a last file of a small index, so that the next start has nothing to replay. */
  async finish(index: OpenIndex, progress: Progress, save: boolean): Promise<void> {
    this.#closing = true;
    this.#options.pool.cancelBuild(index.spec.index);
    await this.#running;
    const small = progress.indexBytes <= this.#options.ownSaveBytes;
    if (save && small && this.unsaved(progress) > 0) await this.run(index, progress);
  }

  async #make(index: OpenIndex, serving: Progress): Promise<void> {
    const { spec, generation, pool, ownSaveBytes, log } = this.#options;
    const startedAt = performance.now();
    const temporary = join(spec.folder, `${randomUUID()}.tmp`);
    const previous = this.checked;
    try {
      const progress =
        serving.indexBytes <= ownSaveBytes || !previous || this.#building
          ? await index.save(temporary)
          : await pool.buildSnapshot(index.spec, previous, temporary, serving.addedThrough);
      const { addedThrough, change, removedTotal, size, tombstones } = progress;
      const file = snapshotName(generation, change, addedThrough);
      const path = join(spec.folder, file);
      const sealed = await pool.sealSnapshot(temporary, path, spec.parameters);
      const row = { file, generation, addedThrough, change, removedTotal, size, tombstones, ...sealed };
      await this.#keep(row).catch(async (error: unknown) => {
        await rm(path, { force: true });
        throw error;
      });
      this.#row = row;
      if (previous && previous.row.file !== file) await rm(previous.path, { force: true });
      await this.#options.changeLog.trim();
      log.debug({ file, bytes: row.bytes, ms: Math.round(performance.now() - startedAt) }, "snapshot made");
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** @throws when its generation was dropped meanwhile */
  async #keep(row: SnapshotRow): Promise<void> {
    const { store, generation } = this.#options;
    await durably(store.env, () => {
      if (this.#discarding || !store.generations.doesExist(generation))
        throw new Error("the index is not wanted any more");
      writeSnapshot(store, generation, row);
    });
  }
}
