import type { Store } from "./store.ts";

/** Deleted change records per transaction. */
const TRIM_AT_ONCE = 1_000;

/** The change log of a library goes back as far as an index still needs it. */
export class ChangeLog {
  readonly #store: Store;
  readonly #readers = new Set<() => number>();
  #trimming: Promise<void> | undefined;
  #trimmedThrough = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The last change that was removed since it was opened. */
  get trimmedThrough(): number {
    return this.#trimmedThrough;
  }

  /** How far it may be trimmed now. */
  get trimmableThrough(): number {
    if (this.#readers.size === 0) return this.#trimmedThrough;
    return Math.min(...[...this.#readers].map((doneWith) => doneWith()));
  }

  /**
   * Keeps the changes that somebody has yet to read.
   * @param doneWith tells the last change that the reader no longer needs
   * @returns ends it
   */
  addReader(doneWith: () => number): () => void {
    // A function of its own: the same one may be given twice.
    const reader = (): number => doneWith();
    this.#readers.add(reader);
    return () => void this.#readers.delete(reader);
  }

  /** Forgets what no reader needs; nothing while there is none. */
  trim(): Promise<void> {
    this.#trimming ??= this.#trim().finally(() => {
      this.#trimming = undefined;
    });
    return this.#trimming;
  }

  async #trim(): Promise<void> {
    if (this.#readers.size === 0) return;
    const { changes, env } = this.#store;
    const through = this.trimmableThrough;
    for (;;) {
      const keys = [...changes.getKeys({ end: through + 1, limit: TRIM_AT_ONCE })];
      if (keys.length === 0) break;
      await env.transaction(() => {
        for (const key of keys) changes.remove(key);
      });
    }
    this.#trimmedThrough = Math.max(this.#trimmedThrough, through);
  }
}
