const WINDOW_MS = 5_000;

/** Units a second over the last five seconds. */
export class Rate {
  readonly #samples: { readonly atMs: number; readonly value: number }[] = [];

  /** A value below the one before starts anew: what was done since a checkpoint is done again. */
  add(atMs: number, value: number): void {
    if (value < (this.#samples.at(-1)?.value ?? 0)) this.#samples.length = 0;
    this.#samples.push({ atMs, value });
    while (this.#samples.length > 2 && (this.#samples[1]?.atMs ?? atMs) < atMs - WINDOW_MS) {
      this.#samples.shift();
    }
  }

  /** undefined = not known yet. */
  perSecond(nowMs: number): number | undefined {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (!first || !last || last.value === first.value || nowMs <= first.atMs) return undefined;
    return ((last.value - first.value) * 1_000) / (nowMs - first.atMs);
  }

  /** Time until `total` is reached; undefined = not known yet. */
  remainingMs(nowMs: number, total: number): number | undefined {
    const rate = this.perSecond(nowMs);
    const last = this.#samples.at(-1);
    return rate === undefined || !last ? undefined : ((total - last.value) * 1_000) / rate;
  }
}
