import { once } from "../platform/lifecycle.ts";

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process that was launched; `ready` rejects when it ends before it is ready. */
export interface Running {
  readonly pid: number;
  readonly ready: Promise<void>;
  readonly exited: Promise<Exit>;
  kill(signal: NodeJS.Signals): void;
}

export interface SupervisedOptions {
  readonly name: string;
  readonly launch: () => Promise<Running>;
  /** Time to end after SIGTERM; then SIGKILL. */
  readonly stopTimeoutMs: number;
  /** Time to become ready. */
  readonly readyTimeoutMs: number;
  /** It died by itself; the next launch comes after `delayMs`. */
  readonly onExit: (exit: Exit, delayMs: number) => void;
  /** It is ready again after a restart. */
  readonly onReady: (pid: number) => void;
  /** A restart failed; the next one comes after `delayMs`. */
  readonly onFailure: (error: unknown, delayMs: number) => void;
}

const FIRST_BACKOFF_MS = 200;
const LONGEST_BACKOFF_MS = 5_000;
const STEADY_MS = 30_000;

/** Time before the next launch: 200 ms, doubling to 5 s; from the start again after 30 s alive. */
export function nextBackoff(previousMs: number | undefined, aliveMs: number): number {
  if (previousMs === undefined || aliveMs >= STEADY_MS) return FIRST_BACKOFF_MS;
  return Math.min(previousMs * 2, LONGEST_BACKOFF_MS);
}

/** Keeps one process running: launched again with backoff whenever it ends, until `stop`. */
export class Supervised {
  readonly name: string;
  readonly #options: SupervisedOptions;
  #running: Running | undefined;
  #isReady = false;
  #stopping = false;
  #forced = false;
  #backoffMs: number | undefined;
  #launching: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #waiters = new Set<{ resolve: () => void; reject: (error: Error) => void }>();

  constructor(options: SupervisedOptions) {
    this.name = options.name;
    this.#options = options;
  }

  /** Of the process that runs now. */
  get pid(): number | undefined {
    return this.#running?.pid;
  }

  /**
   * Launches it and resolves when it is ready.
   * @throws Error when it ends before, or isn't ready in time; it is not tried again then
   */
  async start(): Promise<void> {
    try {
      await this.#launch();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Resolves when it is ready: at once when it is now. @throws Error when it is stopped first */
  ready(): Promise<void> {
    if (this.#isReady) return Promise.resolve();
    if (this.#stopping) return Promise.reject(new Error(`${this.name} is stopped`));
    return new Promise((resolve, reject) => this.#waiters.add({ resolve, reject }));
  }

  /** @returns whether there is a process to send it to */
  kill(signal: NodeJS.Signals): boolean {
    if (!this.#running) return false;
    if (signal === "SIGKILL") this.#isReady = false;
    this.#running.kill(signal);
    return true;
  }

  /** SIGKILL, now and to what is being launched. */
  force(): void {
    this.#stopping = true;
    this.#forced = true;
    clearTimeout(this.#timer);
    this.#running?.kill("SIGKILL");
  }

  readonly stop = once(async () => {
    this.#stopping = true;
    this.#isReady = false;
    clearTimeout(this.#timer);
    for (const waiter of this.#waiters) waiter.reject(new Error(`${this.name} is stopped`));
    this.#waiters.clear();
    await this.#terminate();
    // A launch under way ends as soon as it sees that it is not wanted any more.
    await this.#launching?.catch(() => undefined);
  });

  async #terminate(): Promise<void> {
    const running = this.#running;
    if (!running) return;
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), this.#options.stopTimeoutMs);
    await running.exited;
    clearTimeout(timer);
  }

  #launch(): Promise<void> {
    const launching = this.#launchOnce().finally(() => {
      if (this.#launching === launching) this.#launching = undefined;
    });
    this.#launching = launching;
    return launching;
  }

  async #launchOnce(): Promise<void> {
    const started = performance.now();
    const running = await this.#options.launch();
    this.#running = running;
    // Who waits for readiness sees the rejection below; without a waiter it must not end this process.
    running.ready.catch(() => undefined);
    let becameReady = false;
    void running.exited.then((exit) => {
      this.#running = undefined;
      this.#isReady = false;
      if (this.#stopping || !becameReady) return;
      this.#later(started, (delayMs) => this.#options.onExit(exit, delayMs));
    });
    if (this.#stopping) {
      if (this.#forced) running.kill("SIGKILL");
      await this.#terminate();
      throw new Error(`${this.name} is stopped`);
    }
    await this.#inTime(running);
    // It may have ended between readiness and here.
    if (this.#running !== running) throw new Error(`${this.name} ended as soon as it was ready`);
    becameReady = true;
    this.#isReady = true;
    for (const waiter of this.#waiters) waiter.resolve();
    this.#waiters.clear();
  }

  async #inTime(running: Running): Promise<void> {
    const { readyTimeoutMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new Error(`${this.name} is not ready after ${readyTimeoutMs / 1_000} s`)),
        readyTimeoutMs,
      );
    });
    try {
      await Promise.race([running.ready, late]);
    } catch (error) {
      running.kill("SIGKILL");
      await running.exited;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #later(started: number, tell: (delayMs: number) => void): void {
    const delayMs = nextBackoff(this.#backoffMs, performance.now() - started);
    this.#backoffMs = delayMs;
    tell(delayMs);
    this.#timer = setTimeout(() => void this.#relaunch(), delayMs);
  }

  async #relaunch(): Promise<void> {
    const started = performance.now();
    try {
      await this.#launch();
      if (this.#running) this.#options.onReady(this.#running.pid);
    } catch (error) {
      if (!this.#stopping) this.#later(started, (delayMs) => this.#options.onFailure(error, delayMs));
    }
  }
}
