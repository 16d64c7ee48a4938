/** Holds writers back for a moment, so that a build can take in what is missing. */
export class UpsertGate {
  #held: Promise<void> | undefined;
  #open: () => void = () => undefined;

  /** Lets go by itself after `ms`; held already, it stays so until then. */
  hold(ms: number): void {
    if (this.#held) return;
    let open = (): void => undefined;
    this.#held = new Promise((resolve) => {
      open = resolve;
    });
    const timer = setTimeout(() => this.release(), ms);
    this.#open = () => {
      clearTimeout(timer);
      open();
    };
  }

  release(): void {
    this.#held = undefined;
    this.#open();
    this.#open = () => undefined;
  }

  /** Resolves at once unless it is held. */
  async pass(): Promise<void> {
    while (this.#held) await this.#held;
  }
}
