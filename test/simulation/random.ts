/** A small, fast generator (mulberry32): the same seed gives the same numbers. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** Its own numbers for a part of the simulation, so that one part's use does not shift another's. */
  static of(seed: number, name: string): Random {
    let hash = 2_166_136_261 ^ seed;
    for (let n = 0; n < name.length; n++) hash = Math.imul(hash ^ name.charCodeAt(n), 16_777_619);
    return new Random(hash);
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  /** ms of one way over the network: nearly always short, now and then long. */
  latency(): number {
    const luck = this.next();
    if (luck < 0.9) return 0.2 + this.next() * 2;
    return luck < 0.99 ? this.next() * 20 : this.next() * 300;
  }
}
