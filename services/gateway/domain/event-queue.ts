/** What waits for one slow client, in order, bounded by count and bytes. */
export class EventQueue<T extends { readonly length: number }> {
  readonly #maxEntries: number;
  readonly #maxBytes: number;
  #entries: T[] = [];
  #taken = 0;
  #bytes = 0;

  constructor(maxEntries: number, maxBytes: number) {
    this.#maxEntries = maxEntries;
    this.#maxBytes = maxBytes;
  }

  get size(): number {
    return this.#entries.length - this.#taken;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Is there room for so much more? An empty queue takes anything: what belongs together is not taken apart. */
  accepts(entries: number, bytes: number): boolean {
    if (this.size === 0) return true;
    return this.size + entries <= this.#maxEntries && this.#bytes + bytes <= this.#maxBytes;
  }

  push(entry: T): void {
    this.#entries.push(entry);
    this.#bytes += entry.length;
  }

  shift(): T | undefined {
    const entry = this.#entries[this.#taken];
    if (entry === undefined) return undefined;
    this.#taken += 1;
    this.#bytes -= entry.length;
    // Taking from an array's front moves all the rest: it is done once for many.
    if (this.#taken === this.#entries.length || this.#taken >= this.#maxEntries) {
      this.#entries = this.#entries.slice(this.#taken);
      this.#taken = 0;
    }
    return entry;
  }
}
