/** Many deadlines on one timer; each is met at most `SWEEP_MS` late. A timer per job would cost more than the job. */

const SWEEP_MS = 50;

export class Deadlines {
  readonly #deadlines = new Map<() => void, number>();
  #timer: NodeJS.Timeout | undefined;

  /** Calls `onDeadline` once at the monotonic time; setting it again moves it. */
  set(onDeadline: () => void, atMs: number): void {
    this.#deadlines.set(onDeadline, atMs);
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS);
  }

  delete(onDeadline: () => void): void {
    this.#deadlines.delete(onDeadline);
  }

  stop(): void {
    this.#deadlines.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    const now = performance.now();
    for (const [onDeadline, atMs] of this.#deadlines) {
      if (atMs > now) continue;
      this.#deadlines.delete(onDeadline);
      onDeadline();
    }
    if (this.#deadlines.size === 0) this.stop();
  }
}
