import { type Database, open, type RootDatabase } from "lmdb";
import { ArrwError, notFound } from "../../platform/errors.ts";
import { isVisible, type LibraryPatterns } from "../../platform/library-patterns.ts";
import { durably, type IndexShape } from "./store.ts";

/** What a library was created as; what it is now, its live generation says. */
export interface LibraryConfig extends IndexShape {
  readonly id: string;
  readonly name: string;
}

export interface LibraryRow extends LibraryConfig {
  /** Names its folder; never used again. */
  readonly number: number;
  readonly embeddingId: string;
  readonly createdAtMs: number;
}

/**
 * Which libraries exist. All rows are in memory; a change is on the disk before it is answered. A deleted library is
 * forgotten at once and its folder noted, so that a crash in between leaves no files behind.
 */
export class Catalog {
  readonly #env: RootDatabase;
  readonly #rows: Database<LibraryRow, number>;
  readonly #deleting: Database<boolean, number>;
  readonly #unsettled: Database<boolean, number>;
  readonly #counters: Database<number, string>;
  readonly #byId = new Map<string, LibraryRow>();
  readonly #byName = new Map<string, LibraryRow>();

  constructor(folder: string) {
    this.#env = open({ path: folder, maxDbs: 12 });
    this.#rows = this.#env.openDB({ name: "libraries" });
    this.#deleting = this.#env.openDB({ name: "deleting" });
    this.#unsettled = this.#env.openDB({ name: "unsettled" });
    this.#counters = this.#env.openDB({ name: "counters" });
    for (const { value } of this.#rows.getRange()) this.#remember(value);
  }

  /** @throws NOT_FOUND */
  resolve(idOrName: string): LibraryRow {
    const row = this.#byId.get(idOrName) ?? this.#byName.get(idOrName);
    if (!row) throw notFound("library", idOrName);
    return row;
  }

  has(row: LibraryRow): boolean {
    return this.#byId.get(row.id)?.number === row.number;
  }

  /** Rows by name, those after `name` that are seen. */
  list(after: string, limit: number, visible: LibraryPatterns = []): LibraryRow[] {
    return [...this.#byName.values()]
      .filter((row) => row.name > after && isVisible(visible, row.id))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .slice(0, limit);
  }

  /**
   * The same configuration again answers with the row there is.
   * @throws ALREADY_EXISTS for the id with another configuration, or the name
   */
  async create(config: LibraryConfig, embeddingId: string, nowMs: number): Promise<LibraryRow> {
    const existing = this.#byId.get(config.id);
    if (existing) {
      if (sameConfig(existing, config)) {
        // Another call may have made it a moment ago: its row must be on the disk before this one answers.
        await this.#env.flushed;
        return existing;
      }
      throw alreadyExists(
        `library ${JSON.stringify(config.id)} exists with another configuration`,
        config.id,
      );
    }
    // An id that is another one's name would hide that library from those who call it by name.
    if (this.#byName.has(config.name) || this.#byId.has(config.name))
      throw alreadyExists(`a library named ${JSON.stringify(config.name)} exists`, config.name);
    if (this.#byName.has(config.id))
      throw alreadyExists(`${JSON.stringify(config.id)} is the name of another library`, config.id);
    const number = this.#counters.get("library") ?? 1;
    const row: LibraryRow = { ...config, number, embeddingId, createdAtMs: nowMs };
    // In memory first: a second call must not take the same name or number while this one is written.
    this.#remember(row);
    this.#counters.putSync("library", number + 1);
    try {
      await durably(this.#env, () => this.#rows.put(number, row));
    } catch (error) {
      this.#forget(row);
      throw error;
    }
    return row;
  }

  /** Libraries that hold more than their live generation: somebody has to look after it. */
  unsettled(): LibraryRow[] {
    const numbers = new Set(this.#unsettled.getKeys());
    return [...this.#byId.values()].filter(({ number }) => numbers.has(number));
  }

  async markUnsettled(number: number): Promise<void> {
    if (!this.#unsettled.doesExist(number)) await durably(this.#env, () => this.#unsettled.put(number, true));
  }

  async markSettled(number: number): Promise<void> {
    await durably(this.#env, () => this.#unsettled.remove(number));
  }

  /** From here on nobody finds it; its folder is in `unfinished` until `finishDeleting`. */
  async beginDeleting(row: LibraryRow): Promise<void> {
    this.#forget(row);
    await durably(this.#env, () => {
      this.#rows.remove(row.number);
      this.#unsettled.remove(row.number);
      this.#deleting.put(row.number, true);
    });
  }

  /** Folders whose deletion has begun. */
  unfinished(): number[] {
    return [...this.#deleting.getKeys()];
  }

  async finishDeleting(number: number): Promise<void> {
    await durably(this.#env, () => this.#deleting.remove(number));
  }

  async close(): Promise<void> {
    await this.#env.close();
  }

  #remember(row: LibraryRow): void {
    this.#byId.set(row.id, row);
    this.#byName.set(row.name, row);
  }

  #forget(row: LibraryRow): void {
    this.#byId.delete(row.id);
    this.#byName.delete(row.name);
  }
}

function alreadyExists(message: string, name: string): ArrwError {
  return new ArrwError("ALREADY_EXISTS", message, {
    reason: "LIBRARY_ALREADY_EXISTS",
    resource: { type: "library", name },
  });
}

function sameConfig(row: LibraryRow, config: LibraryConfig): boolean {
  const { number: _number, embeddingId: _embeddingId, createdAtMs: _createdAtMs, ...rest } = row;
  return JSON.stringify(sorted(rest)) === JSON.stringify(sorted({ ...config }));
}

function sorted(config: LibraryConfig): unknown {
  const { embedding, ...rest } = config;
  const { provider, model, dimensions } = embedding;
  return [Object.entries(rest).sort(), provider, model, dimensions];
}
