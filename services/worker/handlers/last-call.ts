/** A call in flight may end so long after its attempt was asked to, so that what it did is counted. */
const LAST_CALL_MS = 150;

/** A signal for calls that is aborted a little after the attempt's own. Close it at the end. */
export class LastCall {
  readonly #calls = new AbortController();
  readonly #attempt: AbortSignal;
  readonly #onAbort = (): void => {
    this.#timer = setTimeout(() => this.#calls.abort(this.#attempt.reason), LAST_CALL_MS);
  };
  #timer: NodeJS.Timeout | undefined;

  constructor(attempt: AbortSignal) {
    this.#attempt = attempt;
    if (attempt.aborted) this.#onAbort();
    else attempt.addEventListener("abort", this.#onAbort, { once: true });
  }

  get signal(): AbortSignal {
    return this.#calls.signal;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#attempt.removeEventListener("abort", this.#onAbort);
  }
}
