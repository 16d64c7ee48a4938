/** Things that must come to an end within one and the same time; what doesn't is given to `onOverdue`, once. */
export class Overdue<K extends { readonly destroyed: boolean }> {
  readonly #limitMs: number;
  readonly #onOverdue: (key: K) => void;
  readonly #since = new Map<K, number>();

  constructor(limitMs: number, onOverdue: (key: K) => void) {
    this.#limitMs = limitMs;
    this.#onOverdue = onOverdue;
  }

  has(key: K): boolean {
    return this.#since.has(key);
  }

  /** The time counts from now. */
  begin(key: K, nowMs: number): void {
    this.#since.set(key, nowMs);
  }

  done(key: K): void {
    this.#since.delete(key);
  }

  sweep(nowMs: number): void {
    for (const [key, since] of this.#since) {
      const overdue = nowMs - since >= this.#limitMs;
      if (!overdue && !key.destroyed) continue;
      this.#since.delete(key);
      if (!key.destroyed) this.#onOverdue(key);
    }
  }
}
