import { join } from "node:path";
import { unavailable } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Hit } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { ChangeLog } from "./change-log.ts";
import type { DocumentScan } from "./document-scan.ts";
import { LibraryIndex } from "./library-index.ts";
import { type LibrarySearch, LibrarySearcher } from "./library-search.ts";
import type { GenerationRow, Store } from "./store.ts";
import type { VectorPool } from "./vector-pool.ts";

export interface GenerationOptions {
  readonly store: Store;
  /** The library's own folder. */
  readonly folder: string;
  readonly scan: DocumentScan;
  readonly changeLog: ChangeLog;
  readonly pool: VectorPool;
  readonly log: Logger;
  readonly snapshotChanges: number;
  /** Awaited before its files are looked at. */
  readonly prepared: () => Promise<void>;
}

/** Vectors that may be stored and not indexed yet, and the bytes they may be, before writers wait. */
const MAX_BEHIND = 4_096;
const MAX_BEHIND_BYTES = 64 * 1024 * 1024;
/** An index up to this size is saved by the thread that serves it: about 50 ms. */
const OWN_SAVE_BYTES = 64 * 1024 * 1024;

/** "building": nobody searches it until it is complete. */
export type OwnThread = "building" | "serving";

/** One index of a library, opened when it is first needed and closed after its last search. */
export class Generation {
  readonly row: GenerationRow;
  readonly #options: GenerationOptions;
  readonly #searcher: LibrarySearcher;
  readonly #own: OwnThread | undefined;
  #opening: Promise<LibraryIndex> | undefined;
  #index: LibraryIndex | undefined;
  #abandoned = false;
  #closed = false;
  #uses = 0;
  readonly #unused: (() => void)[] = [];

  /** @param own its index gets a thread of its own */
  constructor(row: GenerationRow, options: GenerationOptions, own?: OwnThread) {
    this.row = row;
    this.#options = options;
    this.#own = own;
    this.#searcher = new LibrarySearcher(options.store, row.metric, options.scan);
  }

  /** undefined = it isn't open. */
  get index(): LibraryIndex | undefined {
    return this.#index;
  }

  /** It has a thread of its own. */
  get ownsThread(): boolean {
    return this.#own !== undefined && this.#opening !== undefined;
  }

  /** Everybody waits for the same opening; after a failed one the next call tries again. @throws UNAVAILABLE once closed */
  open(): Promise<LibraryIndex> {
    if (this.#closed) return Promise.reject(unavailable("the index was replaced", { retryAfterMs: 100 }));
    this.#opening ??= this.#open().then(
      (index) => {
        this.#index = index;
        if (this.#abandoned) index.abandon();
        return index;
      },
      (error: unknown) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }

  /** @param search its `ef` may be 0: the generation's own */
  search(search: LibrarySearch): Promise<Hit[]> {
    const ef = search.ef === 0 ? this.row.expansionSearch : search.ef;
    return this.use((index) => this.#searcher.search(index, { ...search, ef: Math.max(search.k, ef) }));
  }

  /** Runs with the index open; it isn't closed before that has ended. */
  async use<T>(run: (index: LibraryIndex) => Promise<T>): Promise<T> {
    this.#uses += 1;
    try {
      return await run(this.#index ?? (await this.open()));
    } finally {
      this.#uses -= 1;
      if (this.#uses === 0) for (const wake of this.#unused.splice(0)) wake();
    }
  }

  /** Lets waiting writers go. */
  abandon(): void {
    this.#abandoned = true;
    this.#index?.abandon();
  }

  /**
   * Closes the index after its last search.
   * @param save take the time for a last snapshot of a small index
   */
  async close(save: boolean): Promise<void> {
    this.abandon();
    while (this.#uses > 0) await new Promise<void>((resolve) => this.#unused.push(resolve));
    this.#closed = true;
    const index = await this.#opening?.catch(() => undefined);
    this.#index = undefined;
    this.#opening = undefined;
    await index?.close(save);
  }

  /** Ends it with all that is under way; its files are removed by who calls. */
  async discard(): Promise<void> {
    this.abandon();
    this.#closed = true;
    const index = await this.#opening?.catch(() => undefined);
    this.#index = undefined;
    this.#opening = undefined;
    await index?.discard();
  }

  async #open(): Promise<LibraryIndex> {
    const { folder, prepared, store, changeLog, pool, log, snapshotChanges } = this.#options;
    await prepared();
    const { row } = this;
    const { metric, scalar, connectivity, expansionAdd, expansionSearch } = row;
    const { dimensions } = row.embedding;
    return LibraryIndex.open({
      store,
      changeLog,
      generation: row.generation,
      spec: {
        storeFolder: join(folder, "store"),
        folder: join(folder, "index"),
        vectors: row.vectors,
        indexType: row.indexType,
        building: this.#own === "building",
        parameters: { dimensions, metric, scalar, connectivity, expansionAdd, expansionSearch },
      },
      pool,
      log,
      snapshotChanges,
      maxBehind: Math.min(MAX_BEHIND, Math.floor(MAX_BEHIND_BYTES / (dimensions * 4))),
      ownSaveBytes: OWN_SAVE_BYTES,
      dedicated: this.#own !== undefined,
    });
  }
}
