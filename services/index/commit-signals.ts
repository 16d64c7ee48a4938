/** Tells those who wait for a library that something was committed in it, or that it is gone; open or not, by number. */
export class CommitSignals {
  readonly #listeners = new Map<number, Set<CommitListener>>();

  /** Remembers what comes from here on, until `close`. */
  listen(library: number): CommitListener {
    const listeners = this.#listeners.get(library) ?? new Set();
    const listener = new CommitListener(() => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#listeners.delete(library);
    });
    this.#listeners.set(library, listeners.add(listener));
    return listener;
  }

  raise(library: number): void {
    for (const listener of this.#listeners.get(library) ?? []) listener.raise();
  }
}

export class CommitListener {
  readonly #onClose: () => void;
  #raised = false;
  #wake: (() => void) | undefined;

  constructor(onClose: () => void) {
    this.#onClose = onClose;
  }

  raise(): void {
    this.#raised = true;
    this.#wake?.();
  }

  /** Resolves when there was a commit since it did so before. @throws the signal's reason */
  async raised(signal: AbortSignal): Promise<void> {
    if (!this.#raised && !signal.aborted) {
      const onAbort = (): void => this.#wake?.();
      signal.addEventListener("abort", onAbort, { once: true });
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      signal.removeEventListener("abort", onAbort);
    }
    if (signal.aborted) throw signal.reason;
    this.#raised = false;
  }

  close(): void {
    this.#onClose();
  }
}
