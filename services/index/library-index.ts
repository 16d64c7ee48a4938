import { unavailable } from "../../platform/errors.ts";
import { lastKeyOf } from "./generations.ts";
import { Snapshotter, type SnapshotterOptions } from "./snapshotter.ts";
import { readState } from "./store.ts";
import { MAX_CANDIDATES } from "./usearch-index.ts";
import type { OpenIndex } from "./vector-pool.ts";
import type { Progress, SearchResult, SearchSpec } from "./vector-protocol.ts";

export interface LibraryIndexOptions extends SnapshotterOptions {
  /** Vectors stored but not indexed yet, above which writers wait. */
  readonly maxBehind: number;
  /** In a thread of its own. */
  readonly dedicated: boolean;
}

/**
 * The main thread's side of an index: opens it from its snapshot, makes writers wait when it lags, and has the
 * next snapshot made in time.
 */
export class LibraryIndex {
  readonly #options: LibraryIndexOptions;
  readonly #index: OpenIndex;
  readonly #snapshots: Snapshotter;
  #progress: Progress;
  #closed = false;
  readonly #endReading: () => void;
  readonly #waiters = new Set<() => void>();

  private constructor(
    options: LibraryIndexOptions,
    index: OpenIndex,
    snapshots: Snapshotter,
    progress: Progress,
  ) {
    this.#options = options;
    this.#index = index;
    this.#snapshots = snapshots;
    this.#progress = progress;
    // A builder of snapshots may have read changes that the serving thread hasn't come to.
    this.#endReading = options.changeLog.addReader(() => Math.min(snapshots.through, this.#progress.change));
  }

  static async open(options: LibraryIndexOptions): Promise<LibraryIndex> {
    const { spec, pool, dedicated } = options;
    const snapshots = await Snapshotter.open(options);
    let opened: LibraryIndex | undefined;
    const advance = (progress: Progress): void => {
      if (opened) opened.#advance(progress);
    };
    const { checked } = snapshots;
    const how = { dedicated, onProgress: advance };
    const { index, progress } = await pool.open(spec, checked, how).catch(async (error: unknown) => {
      if (!checked) throw error;
      await snapshots.discard(error instanceof Error ? error.message : String(error));
      return pool.open(spec, undefined, how);
    });
    opened = new LibraryIndex(options, index, snapshots, progress);
    opened.#advance(progress);
    return opened;
  }

  get progress(): Progress {
    return this.#progress;
  }

  /** Stored vectors that the index hasn't got yet. */
  get behind(): number {
    return Math.max(0, this.#lastKey - this.#progress.addedThrough);
  }

  /** The highest key that it can have. */
  get #lastKey(): number {
    return lastKeyOf(this.#options.store, this.#options.spec.vectors);
  }

  /** Its thread, to measure it. */
  get thread(): OpenIndex {
    return this.#index;
  }

  /** How far it is as of now. */
  async look(): Promise<Progress> {
    this.#progress = await this.#index.look();
    return this.#progress;
  }

  /** Makes a file of all that it has; from here on searches may come. @throws when the file can't be made */
  async complete(): Promise<void> {
    await this.#snapshots.complete(this.#index);
    this.#index.serve();
    this.#wake();
  }

  /** Resolves when it has moved on, or the signal is aborted. @throws when it is closed */
  async moved(signal: AbortSignal): Promise<void> {
    if (this.#closed) throw unavailable("the index is being closed", { retryAfterMs: 500 });
    if (!signal.aborted) await this.#nextProgress(signal);
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
      const progress = this.#nextProgress(signal);
      // Indexed but not saved: only a snapshot makes room, due or not.
      if (this.behind === 0) this.#snapshot();
      await progress;
    }
  }

  #hasRoom(incoming: number): boolean {
    if (this.#closed) return true;
    const { maxBehind, snapshotChanges, store } = this.#options;
    const { behind } = this;
    if (behind > 0 && behind + incoming > maxBehind) return false;
    const { removedTotal } = readState(store);
    const unsaved = this.#snapshots.unsaved({ addedThrough: this.#lastKey, removedTotal });
    // Snapshots that fail (a full disk) make restarts slower, not writes impossible.
    // Each vector that comes in may replace one.
    return this.#snapshots.failing || unsaved === 0 || unsaved + 2 * incoming <= snapshotChanges;
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

  #advance(progress: Progress): void {
    this.#progress = progress;
    this.#wake();
    if (!this.#closed && this.#snapshots.isDue(progress)) this.#snapshot();
  }

  #snapshot(): void {
    void this.#snapshots.run(this.#index, this.#progress).then(() => {
      this.#wake();
      // What came in meanwhile may be enough for the next one.
      if (!this.#closed && this.#snapshots.isDue(this.#progress)) this.#snapshot();
    });
  }

  #wake(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Lets waiting writers go: their library is going away. */
  abandon(): void {
    this.#closed = true;
    this.#wake();
  }

  /** Closes it without waiting for a file that is being made: that is thrown away. */
  async discard(): Promise<void> {
    this.abandon();
    this.#endReading();
    this.#snapshots.discardAll(this.#index);
    await this.#index.close();
  }

  /** @param save make a last snapshot of a small index */
  async close(save: boolean): Promise<void> {
    this.abandon();
    this.#endReading();
    await this.#snapshots.finish(this.#index, this.#progress, save);
    await this.#index.close();
  }
}
