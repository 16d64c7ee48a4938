import { mkdir, readdir, rm } from "node:fs/promises";
import { totalmem } from "node:os";
import { join } from "node:path";
import { notFound, unavailable } from "../../platform/errors.ts";
import { isVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { acquirePidLock, type PidLock } from "../../platform/pid-lock.ts";
import type { BuildEnd } from "./build-host.ts";
import { Catalog, type LibraryConfig, type LibraryRow } from "./catalog.ts";
import { CommitSignals } from "./commit-signals.ts";
import { Library } from "./library.ts";
import { type LibraryTotals, totalsOf } from "./library-totals.ts";
import type { VectorPool } from "./vector-pool.ts";

export interface LibrariesOptions {
  /** The index service's own folder; this process alone uses it. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  readonly maxOpen: number;
  readonly snapshotChanges: number;
  readonly watchEvents: number;
  /** How long a generation is kept after it was swapped out. */
  readonly generationRetentionMs: number;
  /** Memory that loaded indexes may take; 0 = three quarters of what this process can have. */
  readonly memoryLimitBytes: number;
  /** A build without a call for so long is dropped; default 30,000. */
  readonly buildKeepAliveMs?: number;
}

interface OpenLibrary {
  readonly library: Library;
  uses: number;
  /** Called when the last use ends. */
  readonly idle: (() => void)[];
}

const BUILD_KEEP_ALIVE_MS = 30_000;
/** Previous generations are looked after this often. */
const SETTLE_EVERY_MS = 60 * 60 * 1_000;
/** Threads that belong to one index each, before idle libraries give theirs up. */
const MAX_OWN_THREADS = 8;
/** Memory and threads of open libraries are summed up this often at most. */
const WEIGH_EVERY_MS = 1_000;
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
  readonly #memoryLimitBytes: number;
  #onBuildEnded: (end: BuildEnd) => void = () => undefined;
  #settling: Promise<void> | undefined;
  #settleTimer: NodeJS.Timeout | undefined;
  #weighedAtMs = 0;
  #stopped = false;

  constructor(options: LibrariesOptions) {
    this.#options = options;
    this.#memoryLimitBytes = options.memoryLimitBytes || Math.floor(availableBytes() * 0.75);
  }

  /** @throws when another living process uses the folder */
  async start(): Promise<void> {
    const { folder } = this.#options;
    await mkdir(join(folder, "libraries"), { recursive: true });
    this.#lock = acquirePidLock(join(folder, "lock"));
    this.#catalog = new Catalog(join(folder, "catalog"));
    for (const number of this.#catalog.unfinished()) await this.#removeFiles(number);
    await this.#removeOrphans(this.#catalog);
    this.#settleTimer = setInterval(() => void this.settle(Date.now()), SETTLE_EVERY_MS).unref();
    void this.settle(Date.now());
  }

  /** One listener: told whenever a build ends. */
  onBuildEnded(listener: (end: BuildEnd) => void): void {
    this.#onBuildEnded = listener;
  }

  /** Opens the libraries that hold more than their live generation, so that it goes when its time is over. */
  settle(nowMs: number): Promise<void> {
    this.#settling ??= this.#settle(nowMs).finally(() => {
      this.#settling = undefined;
    });
    return this.#settling;
  }

  async #settle(nowMs: number): Promise<void> {
    const catalog = this.#ready();
    for (const row of catalog.unsettled()) {
      if (this.#stopped) return;
      await this.use(row.id, async (library) => {
        await library.builds.expire(nowMs);
        if (!library.builds.unsettled) await catalog.markSettled(row.number);
      }).catch((error: unknown) =>
        this.#options.log.error({ err: error }, "a library can't be looked after"),
      );
    }
  }

  /** Why calls can't be served; undefined = they can. */
  get unready(): string | undefined {
    return this.#catalog && !this.#stopped ? undefined : "the catalog is not open";
  }

  /** Sums over the open libraries; a library that isn't open counts nothing. */
  get totals(): LibraryTotals {
    return totalsOf([...this.#open.values()].map(({ library }) => library));
  }

  /** The same configuration again answers with the library there is. @throws ALREADY_EXISTS */
  async create(config: LibraryConfig, embeddingId: string, nowMs: number): Promise<LibraryRow> {
    return this.#ready().create(config, embeddingId, nowMs);
  }

  /** @param visible a library that isn't seen is not there @throws LIBRARY_NOT_FOUND */
  resolve(idOrName: string, visible: LibraryPatterns = []): LibraryRow {
    const row = this.#ready().resolve(idOrName);
    if (!isVisible(visible, row.id)) throw notFound("library", idOrName);
    return row;
  }

  /** By name, those after `name` that are seen. */
  list(after: string, limit: number, visible: LibraryPatterns = []): LibraryRow[] {
    return this.#ready().list(after, limit, visible);
  }

  /**
   * Runs with the library open; it stays open until then.
   * @param passing who looks into many: those that nobody else uses aren't kept, so that others stay open @throws LIBRARY_NOT_FOUND
   */
  async use<T>(idOrName: string, run: (library: Library) => Promise<T>, passing = false): Promise<T> {
    const row = this.resolve(idOrName);
    const wasOpen = this.#open.has(row.number);
    const open = await this.#acquire(row);
    try {
      return await run(open.library);
    } finally {
      open.uses -= 1;
      if (open.uses === 0) for (const wake of open.idle.splice(0)) wake();
      if (passing && !wasOpen && open.uses === 0 && !open.library.busy) await this.#close(row.number, open);
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
    clearInterval(this.#settleTimer);
    for (const { library } of this.#open.values()) library.interrupt();
    await this.#settling?.catch(() => undefined);
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
    const { pool, log, snapshotChanges, watchEvents, generationRetentionMs } = this.#options;
    return new Library({
      row,
      folder: this.#folder(row.number),
      pool,
      log: log.child({ library_id: row.id }),
      snapshotChanges,
      watchEvents,
      onCommit: () => this.commits.raise(row.number),
      builds: {
        memory: {
          limitBytes: this.#memoryLimitBytes,
          makeRoom: (bytes) => this.#makeRoom(bytes),
        },
        retentionMs: generationRetentionMs,
        keepAliveMs: this.#options.buildKeepAliveMs ?? BUILD_KEEP_ALIVE_MS,
        markUnsettled: () => this.#ready().markUnsettled(row.number),
        onBuildEnded: (end) => this.#onBuildEnded(end),
      },
    });
  }

  #closeUnused(): void {
    if (this.#open.size > this.#options.maxOpen)
      this.#closeIdle(() => this.#open.size > this.#options.maxOpen);
    if (performance.now() - this.#weighedAtMs < WEIGH_EVERY_MS) return;
    this.#weighedAtMs = performance.now();
    const libraries = [...this.#open.values()].map(({ library }) => library);
    let threads = libraries.filter(({ ownsThread }) => ownsThread).length;
    this.#closeIdle((library) => threads > MAX_OWN_THREADS && library.ownsThread && threads-- > 0);
    void this.#makeRoom(0);
  }

  /** Closes the least recently used idle libraries that `which` says so of. */
  #closeIdle(which: (library: Library) => boolean): Promise<void>[] {
    const closed: Promise<void>[] = [];
    for (const [number, open] of this.#open)
      if (open.uses === 0 && !open.library.busy && which(open.library))
        closed.push(this.#close(number, open));
    return closed;
  }

  /** Closes idle libraries until there is room for `bytes` more. @returns what loaded indexes take then */
  async #makeRoom(bytes: number): Promise<number> {
    const room = this.#memoryLimitBytes - bytes;
    let used = this.totals.memoryBytes;
    const closed = this.#closeIdle(({ memoryBytes }) => {
      if (used <= room || memoryBytes === 0) return false;
      used -= memoryBytes;
      return true;
    });
    await Promise.all(closed);
    return used;
  }

  #close(number: number, open: OpenLibrary, save = true): Promise<void> {
    // Whoever waited for its last use and whoever looks for idle ones may come at once.
    if (this.#open.get(number) !== open) return this.#closing.get(number) ?? Promise.resolve();
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

/** Memory that this process can have: the machine's, or less in a container. */
function availableBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

function unused(open: OpenLibrary): Promise<void> {
  return new Promise((resolve) => {
    if (open.uses === 0) resolve();
    else open.idle.push(resolve);
  });
}
