import { mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { notFound, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { acquirePidLock, type PidLock } from "../../platform/pid-lock.ts";
import { Catalog, type LibraryConfig, type LibraryRow } from "./catalog.ts";
import { CommitSignals } from "./commit-signals.ts";
import { Library } from "./library.ts";
import type { VectorPool } from "./vector-pool.ts";

export interface LibrariesOptions {
  /** The index service's own folder; this process alone uses it. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  readonly maxOpen: number;
  readonly snapshotChanges: number;
  readonly watchEvents: number;
}

interface OpenLibrary {
  readonly library: Library;
  uses: number;
  /** Called when the last use ends. */
  readonly idle: (() => void)[];
}

/** A stopping service makes last snapshots for this long; what is left is replayed by the next start. */
const SAVE_MS = 1_000;

/** All libraries: those in use are open, up to `maxOpen` of the others stay open, the rest are on the disk alone. */
export class Libraries implements Part {
  readonly name = "libraries";
  readonly commits = new CommitSignals();
  readonly #options: LibrariesOptions;
  #lock: PidLock | undefined;
  #catalog: Catalog | undefined;
  /** By number, the least recently used first. */
  readonly #open = new Map<number, OpenLibrary>();
  readonly #closing = new Map<number, Promise<void>>();
  #stopped = false;

  constructor(options: LibrariesOptions) {
    this.#options = options;
  }

  /** @throws when another living process uses the folder */
  async start(): Promise<void> {
    const { folder } = this.#options;
    await mkdir(join(folder, "libraries"), { recursive: true });
    this.#lock = acquirePidLock(join(folder, "lock"));
    this.#catalog = new Catalog(join(folder, "catalog"));
    for (const number of this.#catalog.unfinished()) await this.#removeFiles(number);
    await this.#removeOrphans(this.#catalog);
  }

  /** Why calls can't be served; undefined = they can. */
  get unready(): string | undefined {
    return this.#catalog && !this.#stopped ? undefined : "the catalog is not open";
  }

  /** Sums over the open libraries; a library that isn't open counts nothing. */
  get totals(): { open: number; documents: number; chunks: number; vectors: number; behind: number } {
    const totals = { open: 0, documents: 0, chunks: 0, vectors: 0, behind: 0 };
    for (const { library } of this.#open.values()) {
      const { documents, chunks } = library.state;
      totals.open += 1;
      totals.documents += documents;
      totals.chunks += chunks;
      totals.vectors += library.vectors;
      totals.behind += library.behind;
    }
    return totals;
  }

  /** The same configuration again answers with the library there is. @throws ALREADY_EXISTS */
  async create(config: LibraryConfig, embeddingId: string, nowMs: number): Promise<LibraryRow> {
    return this.#ready().create(config, embeddingId, nowMs);
  }

  /** @throws LIBRARY_NOT_FOUND */
  resolve(idOrName: string): LibraryRow {
    return this.#ready().resolve(idOrName);
  }

  /** By name, those after `name`. */
  list(after: string, limit: number): LibraryRow[] {
    return this.#ready().list(after, limit);
  }

  /** Runs with the library open; it stays open until then. @throws LIBRARY_NOT_FOUND */
  async use<T>(idOrName: string, run: (library: Library) => Promise<T>): Promise<T> {
    const row = this.resolve(idOrName);
    const open = await this.#acquire(row);
    try {
      return await run(open.library);
    } finally {
      open.uses -= 1;
      if (open.uses === 0) for (const wake of open.idle.splice(0)) wake();
      this.#closeUnused();
    }
  }

  /** Its files are gone when this returns; calls that still use it end with LIBRARY_NOT_FOUND. */
  async delete(idOrName: string): Promise<void> {
    const catalog = this.#ready();
    const row = catalog.resolve(idOrName);
    await catalog.beginDeleting(row);
    this.commits.raise(row.number);
    await this.#closing.get(row.number);
    const open = this.#open.get(row.number);
    if (open) {
      open.library.markDeleted();
      await unused(open);
      await this.#close(row.number, open);
    }
    await this.#removeFiles(row.number);
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    const saveUntil = performance.now() + SAVE_MS;
    for (const [number, open] of [...this.#open]) {
      await unused(open);
      await this.#close(number, open, performance.now() < saveUntil);
    }
    await Promise.all(this.#closing.values());
    await this.#catalog?.close();
    this.#lock?.release();
  }

  async #acquire(row: LibraryRow): Promise<OpenLibrary> {
    const { number } = row;
    while (this.#closing.has(number)) await this.#closing.get(number);
    if (this.#stopped) throw unavailable("the index service is stopping", { retryAfterMs: 500 });
    if (!this.#ready().has(row)) throw notFound("library", row.id);
    const open = this.#open.get(number) ?? { library: this.#openLibrary(row), uses: 0, idle: [] };
    open.uses += 1;
    this.#open.delete(number);
    this.#open.set(number, open);
    return open;
  }

  #openLibrary(row: LibraryRow): Library {
    const { pool, log, snapshotChanges, watchEvents } = this.#options;
    return new Library({
      row,
      folder: this.#folder(row.number),
      pool,
      log: log.child({ library_id: row.id }),
      snapshotChanges,
      watchEvents,
      onCommit: () => this.commits.raise(row.number),
    });
  }

  #closeUnused(): void {
    for (const [number, open] of this.#open) {
      if (this.#open.size <= this.#options.maxOpen) return;
      if (open.uses === 0) void this.#close(number, open);
    }
  }

  #close(number: number, open: OpenLibrary, save = true): Promise<void> {
    this.#open.delete(number);
    const closed = open.library
      .close(save)
      .catch((error: unknown) => this.#options.log.error({ err: error }, "a library could not be closed"))
      .finally(() => this.#closing.delete(number));
    this.#closing.set(number, closed);
    return closed;
  }

  #folder(number: number): string {
    return join(this.#options.folder, "libraries", String(number));
  }

  async #removeFiles(number: number): Promise<void> {
    await rm(this.#folder(number), { recursive: true, force: true });
    await this.#ready().finishDeleting(number);
  }

  /** Folders without a row: of a library whose creation never reached the disk. */
  async #removeOrphans(catalog: Catalog): Promise<void> {
    const folder = join(this.#options.folder, "libraries");
    const known = new Set(catalog.list("", Number.MAX_SAFE_INTEGER).map(({ number }) => String(number)));
    const orphans = (await readdir(folder)).filter((name) => /^\d+$/.test(name) && !known.has(name));
    for (const name of orphans) await rm(join(folder, name), { recursive: true, force: true });
  }

  #ready(): Catalog {
    if (!this.#catalog) throw new Error("the catalog is not open");
    return this.#catalog;
  }
}

function unused(open: OpenLibrary): Promise<void> {
  return new Promise((resolve) => {
    if (open.uses === 0) resolve();
    else open.idle.push(resolve);
  });
}
