import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../platform/log.ts";
import { durably, readSnapshot, readState, type SnapshotRow, type Store, writeSnapshot } from "./store.ts";
import type { OpenIndex, VectorPool } from "./vector-pool.ts";
import type { CheckedSnapshot, LibrarySpec, Progress } from "./vector-protocol.ts";

export interface SnapshotterOptions {
  readonly store: Store;
  readonly spec: LibrarySpec;
  /** Folder of the snapshot files. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  /** Changes a restart replays at most. */
  readonly snapshotChanges: number;
  /** Size up to which the serving thread writes its index itself, in bytes. */
  readonly ownSaveBytes: number;
}

/** How far something has come, as far as a restart is concerned. */
type Reach = Pick<Progress, "addedThrough" | "removedTotal">;

/** Deleted change records per transaction. */
const TRIM_AT_ONCE = 1_000;
/** Wait after a snapshot that failed. */
const RETRY_MS = 5_000;

/**
 * The snapshot files of one library, and its change log, which goes back to the last of them. The LMDB rows are the
 * truth: whatever is wrong with a file, the index comes from them.
 */
export class Snapshotter {
  readonly #options: SnapshotterOptions;
  #row: SnapshotRow | undefined;
  #running: Promise<void> | undefined;
  #retryAtMs = 0;
  #trimmedThrough = 0;
  #closing = false;

  private constructor(options: SnapshotterOptions) {
    this.#options = options;
  }

  /** Finds the file to start from and removes all others. One that can't be used goes too, with a warning. */
  static async open(options: SnapshotterOptions): Promise<Snapshotter> {
    const { store, spec, folder, pool } = options;
    const snapshotter = new Snapshotter(options);
    await mkdir(folder, { recursive: true });
    snapshotter.#row = spec.indexType === "hnsw" ? readSnapshot(store) : undefined;
    const { checked } = snapshotter;
    const fault = checked && (await pool.checkSnapshot(checked.path, checked.row, spec.parameters));
    if (fault !== undefined) await snapshotter.discard(fault);
    const names = await readdir(folder);
    const others = names.filter((name) => name !== snapshotter.#row?.file);
    await Promise.all(others.map((name) => rm(join(folder, name), { force: true, recursive: true })));
    return snapshotter;
  }

  /** The newest file; undefined = there is none. */
  get checked(): CheckedSnapshot | undefined {
    return this.#row && { path: join(this.#options.folder, this.#row.file), row: this.#row };
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
    const { store, log, folder } = this.#options;
    const file = this.#row?.file;
    log.warn({ file, fault }, "the snapshot can't be used; the index is rebuilt from the stored vectors");
    await durably(store.env, () => writeSnapshot(store, undefined));
    this.#row = undefined;
    if (file !== undefined) await rm(join(folder, file), { force: true, recursive: true });
  }

  /** Whether the next file should be made now. */
  isDue(progress: Progress): boolean {
    const { spec, snapshotChanges } = this.#options;
    if (this.#running || Date.now() < this.#retryAtMs) return false;
    return spec.indexType === "flat"
      ? progress.change - this.#trimmedThrough >= snapshotChanges
      : this.unsaved(progress) >= snapshotChanges / 2;
  }

  /** Makes the next file, or waits for the one that is being made. A failure is logged. */
  run(index: OpenIndex, progress: Progress): Promise<void> {
    const { spec, log } = this.#options;
    this.#running ??= (spec.indexType === "flat" ? this.#trim(progress.change) : this.#make(index, progress))
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

  /** Gives up a build; makes a last file of a small index, so that the next start has nothing to replay. */
  async finish(index: OpenIndex, progress: Progress, save: boolean): Promise<void> {
    this.#closing = true;
    this.#options.pool.cancelBuild(this.#options.spec.library);
    await this.#running;
    const small = progress.indexBytes <= this.#options.ownSaveBytes;
    if (save && small && this.unsaved(progress) > 0) await this.run(index, progress);
  }

  async #make(index: OpenIndex, serving: Progress): Promise<void> {
    const { store, spec, folder, pool, ownSaveBytes, log } = this.#options;
    const startedAt = performance.now();
    const temporary = join(folder, `${randomUUID()}.tmp`);
    const previous = this.checked;
    try {
      const progress =
        serving.indexBytes <= ownSaveBytes || !previous
          ? await index.save(temporary)
          : await pool.buildSnapshot(spec, previous, temporary, serving.addedThrough);
      const { generation } = readState(store);
      const { addedThrough, change, removedTotal, size, tombstones } = progress;
      const file = `${generation}-${change}-${addedThrough}.usearch`;
      const sealed = await pool.sealSnapshot(temporary, join(folder, file), spec.parameters);
      const row = { file, generation, addedThrough, change, removedTotal, size, tombstones, ...sealed };
      await durably(store.env, () => writeSnapshot(store, row));
      this.#row = row;
      if (previous && previous.row.file !== file) await rm(previous.path, { force: true });
      // A builder may have read changes that the serving thread hasn't come to.
      await this.#trim(Math.min(change, serving.change));
      log.debug({ file, bytes: row.bytes, ms: Math.round(performance.now() - startedAt) }, "snapshot made");
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /** Forgets change records that no restart reads any more. */
  async #trim(through: number): Promise<void> {
    const { changes, env } = this.#options.store;
    for (;;) {
      const keys = [...changes.getKeys({ end: through + 1, limit: TRIM_AT_ONCE })];
      if (keys.length === 0) break;
      await env.transaction(() => {
        for (const key of keys) changes.remove(key);
      });
    }
    this.#trimmedThrough = through;
  }
}
