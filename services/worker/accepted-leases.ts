/**
 * Remembers every lease that was ever accepted, so that one assigned again is not run again. Lease numbers grow over
 * the whole journal, so they lie close together: a block of bits for 1,024 numbers each, at most 4,096 blocks (0.5 MB;
 * over a minute of leases at the highest rates). Older blocks are dropped: a lease that may still be assigned again is
 * held, and held leases are known without this.
 */
export class AcceptedLeases {
  readonly #blocks = new Map<number, Uint32Array>();

  /** @returns false when the lease was accepted before */
  accept(lease: number): boolean {
    const number = Math.floor(lease / BLOCK_LEASES);
    const position = lease - number * BLOCK_LEASES;
    let block = this.#blocks.get(number);
    if (!block) {
      block = new Uint32Array(BLOCK_LEASES / 32);
      this.#blocks.set(number, block);
      if (this.#blocks.size > MAX_BLOCKS) this.#dropOldest();
    }
    const word = position >>> 5;
    const bit = 1 << (position & 31);
    const bits = block[word] ?? 0;
    if ((bits & bit) !== 0) return false;
    block[word] = bits | bit;
    return true;
  }

  #dropOldest(): void {
    for (const oldest of this.#blocks.keys()) {
      this.#blocks.delete(oldest);
      return;
    }
  }
}

const BLOCK_LEASES = 1_024;
const MAX_BLOCKS = 4_096;
