import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../../platform/log.ts";
import { durably, readSnapshot, readState, type SnapshotRow, type Store, writeSnapshot } from "./store.ts";
import { MAX_CANDIDATES } from "./usearch-index.ts";
import type { OpenIndex, VectorPool } from "./vector-pool.ts";
import type { LibrarySpec, Progress, SearchResult, SearchSpec } from "./vector-protocol.ts";

export interface LibraryIndexOptions {
  readonly store: Store;
  readonly spec: LibrarySpec;
  /** Folder of the snapshot files. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  /** Changes a restart replays at most. */
  readonly snapshotChanges: number;
  /** Vectors stored but not indexed yet, above which writers wait. */
  readonly maxBehind: number;
  /** Size up to which the serving thread writes its index itself, in bytes. */
  readonly ownSaveBytes: number;
}

/** Deleted change records per transaction. */
const TRIM_AT_ONCE = 1_000;
/** Wait after a snapshot that failed. */
const RETRY_MS = 5_000;

/**
 * The main thread's side of a library's index: opens it from its snapshot, makes writers wait when it lags, and makes
 * the next snapshot in time. The LMDB rows are the truth: whatever is wrong with a file, the index comes from them.
 */
export class LibraryIndex {
  readonly #options: LibraryIndexOptions;
  readonly #index: OpenIndex;
  #progress: Progress;
  #snapshot: SnapshotRow | undefined;
  #snapshotting: Promise<void> | undefined;
  #retryAtMs = 0;
  #trimmedThrough = 0;
  #closed = false;
  readonly #waiters = new Set<() => void>();

  private constructor(
    options: LibraryIndexOptions,
    index: OpenIndex,
    snapshot: SnapshotRow | undefined,
    progress: Progress,
  ) {
    this.#options = options;
    this.#index = index;
    this.#snapshot = snapshot;
    this.#progress = progress;
  }

  static async open(options: LibraryIndexOptions): Promise<LibraryIndex> {
    const { store, spec, folder, pool } = options;
    await mkdir(folder, { recursive: true });
    const row = spec.indexType === "hnsw" ? await usableSnapshot(options) : undefined;
    await removeOthers(folder, row?.file);
    let opened: LibraryIndex | undefined;
    let latest: Progress | undefined;
    const index = await pool.open(spec, row && { path: join(folder, row.file), row }, (progress) => {
      latest = progress;
      if (opened) opened.#advance(progress);
    });
    if (!latest) throw new Error("the index was opened without telling how far it is");
    opened = new LibraryIndex(options, index, row, latest);
    opened.#trimmedThrough = [...store.changes.getKeys({ limit: 1 })].length === 0 ? latest.change : 0;
    opened.#advance(latest);
    return opened;
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** Bytes of the snapshot file. */
  get snapshotBytes(): number {
    return this.#snapshot?.bytes ?? 0;
  }

  /** Stored vectors that the index hasn't got yet. */
  get behind(): number {
    return Math.max(0, readState(this.#options.store).nextKey - 1 - this.#progress.addedThrough);
  }

  /** The `ef` is cut to what an index may be asked. */
  search(search: SearchSpec): Promise<SearchResult> {
    return this.#index.search({ ...search, ef: Math.min(search.ef, MAX_CANDIDATES) });
  }

  /** A change was committed. */
  changed(): void {
    this.#index.changed();
  }

  /**
   * Returns when a write of `incoming` vectors doesn't take the index too far behind, nor a restart's replay too long.
   * @throws the signal's reason
   */
  async room(incoming: number, signal: AbortSignal): Promise<void> {
    while (!this.#hasRoom(incoming)) {
      if (signal.aborted) throw signal.reason;
      await this.#nextProgress(signal);
    }
  }

  #hasRoom(incoming: number): boolean {
    if (this.#closed) return true;
    const behind = this.behind;
    if (behind > 0 && behind + incoming > this.#options.maxBehind) return false;
    const unsaved = this.#unsaved(readState(this.#options.store));
    // A snapshot that fails (a full disk) makes restarts slower, not writes impossible.
    const failing = this.#retryAtMs > 0;
    return failing || unsaved === 0 || unsaved + incoming <= this.#options.snapshotChanges;
  }

  #nextProgress(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiters.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#waiters.add(wake);
      signal.addEventListener("abort", wake, { once: true });
    });
  }

  /** Index operations that a restart would have to repeat. */
  #unsaved({ nextKey, removedTotal }: { readonly nextKey: number; readonly removedTotal: number }): number {
    if (this.#options.spec.indexType === "flat") return 0;
    const saved = this.#snapshot ?? { addedThrough: 0, removedTotal: 0 };
    const added = nextKey - 1 - saved.addedThrough;
    // Without a file a restart adds the live rows alone.
    return this.#snapshot ? added + removedTotal - saved.removedTotal : Math.max(0, added - removedTotal);
  }

  #advance(progress: Progress): void {
    this.#progress = progress;
    this.#wake();
    if (this.#closed || this.#snapshotting || Date.now() < this.#retryAtMs) return;
    const { spec, snapshotChanges } = this.#options;
    const due =
      spec.indexType === "flat"
        ? progress.change - this.#trimmedThrough >= snapshotChanges
        : this.#unsaved({ nextKey: progress.addedThrough + 1, removedTotal: progress.removedTotal }) >=
          snapshotChanges / 2;
    if (!due) return;
    const work = spec.indexType === "flat" ? this.#trim(progress.change) : this.#makeSnapshot();
    this.#snapshotting = work
      .then(
        () => {
          this.#retryAtMs = 0;
        },
        (error: unknown) => {
          this.#retryAtMs = Date.now() + RETRY_MS;
          this.#options.log.error({ err: error }, "snapshot failed; it is tried again");
        },
      )
      .finally(() => {
        this.#snapshotting = undefined;
        this.#wake();
        // What came in meanwhile may be enough for the next one.
        if (this.#retryAtMs === 0 && !this.#closed) this.#advance(this.#progress);
      });
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  async #makeSnapshot(): Promise<void> {
    const { store, spec, folder, pool, ownSaveBytes, log } = this.#options;
    const startedAt = performance.now();
    const temporary = join(folder, `${randomUUID()}.tmp`);
    const previous = this.#snapshot;
    try {
      const small = this.#progress.indexBytes <= ownSaveBytes;
      const progress =
        small || !previous
          ? await this.#index.save(temporary)
          : await pool.buildSnapshot(
              spec,
              { path: join(folder, previous.file), row: previous },
              temporary,
              this.#progress.addedThrough,
            );
      const { generation } = readState(store);
      const file = `${generation}-${progress.change}-${progress.addedThrough}.usearch`;
      const sealed = await pool.sealSnapshot(temporary, join(folder, file), spec.parameters);
      const { addedThrough, change, removedTotal, size, tombstones } = progress;
      const row: SnapshotRow = {
        file,
        generation,
        addedThrough,
        change,
        removedTotal,
        size,
        tombstones,
        ...sealed,
      };
      await durably(store.env, () => writeSnapshot(store, row));
      this.#snapshot = row;
      if (previous && previous.file !== file) await rm(join(folder, previous.file), { force: true });
      await this.#trim(change);
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

  /** Lets waiting writers go: their library is going away. */
  abandon(): void {
    this.#closed = true;
    this.#wake();
  }

  /** @param save make a last snapshot of a small index, so that the next start has nothing to replay */
  async close(save: boolean): Promise<void> {
    this.abandon();
    await this.#snapshotting;
    const { spec, ownSaveBytes, log } = this.#options;
    const dirty = this.#unsaved({
      nextKey: this.#progress.addedThrough + 1,
      removedTotal: this.#progress.removedTotal,
    });
    if (save && spec.indexType === "hnsw" && dirty > 0 && this.#progress.indexBytes <= ownSaveBytes)
      await this.#makeSnapshot().catch((error: unknown) => log.error({ err: error }, "last snapshot failed"));
    await this.#index.close();
  }
}

/** The snapshot's row when its file may be loaded; else the row goes, with a warning, and the index is rebuilt. */
async function usableSnapshot({
  store,
  spec,
  folder,
  pool,
  log,
}: LibraryIndexOptions): Promise<SnapshotRow | undefined> {
  const row = readSnapshot(store);
  if (!row) return undefined;
  const fault = await pool.checkSnapshot(join(folder, row.file), row, spec.parameters);
  if (fault === undefined) return row;
  log.warn(
    { file: row.file, fault },
    "the snapshot can't be used; the index is rebuilt from the stored vectors",
  );
  await durably(store.env, () => writeSnapshot(store, undefined));
  return undefined;
}

async function removeOthers(folder: string, keep: string | undefined): Promise<void> {
  const names = await readdir(folder);
  await Promise.all(
    names
      .filter((name) => name !== keep)
      .map((name) => rm(join(folder, name), { force: true, recursive: true })),
  );
}
