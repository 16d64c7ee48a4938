import type { Worker } from "node:worker_threads";
import { unavailable } from "../../platform/errors.ts";
import { startThread } from "../../platform/thread.ts";
import { type FromListThread, type ListThreadData, type ToListThread, unpack } from "./list-protocol.ts";
import type { ScanRequest, ScanResult } from "./list-scan.ts";

/** Lists that wait for the thread at most. */
const MAX_WAITING = 200;
const SCAN_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 5_000;

interface Waiting {
  readonly timer: NodeJS.Timeout;
  resolve(result: ScanResult): void;
  reject(error: Error): void;
}

/** Asks the list thread; it is started by the first list, and anew by the next one when it died. */
export class ListClient {
  readonly #path: string;
  readonly #waiting = new Map<number, Waiting>();
  #thread: Worker | undefined;
  #nextId = 1;
  #stopping: Promise<void> | undefined;

  /** @param path folder of the store, which is open in this process already */
  constructor(path: string) {
    this.#path = path;
  }

  /** @throws ArrwError UNAVAILABLE: stopped, too many lists wait, no answer in time, the thread died */
  scan(request: ScanRequest): Promise<ScanResult> {
    if (this.#stopping) return Promise.reject(unavailable("the store is closed", { retryAfterMs: 500 }));
    if (this.#waiting.size >= MAX_WAITING) {
      const message = `${this.#waiting.size} lists wait to be read, at most ${MAX_WAITING} may`;
      return Promise.reject(unavailable(message, { retryAfterMs: 500 }));
    }
    this.#thread ??= this.#start();
    const thread = this.#thread;
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(unavailable(`a list was not read within ${SCAN_TIMEOUT_MS} ms`));
      }, SCAN_TIMEOUT_MS);
      this.#waiting.set(id, { timer, resolve, reject });
      thread.postMessage({ id, request } satisfies ToListThread);
    });
  }

  /** Resolves when the thread has closed its files and is gone. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const thread = this.#thread;
    this.#rejectAll(unavailable("the store was closed", { retryAfterMs: 500 }));
    if (!thread) return;
    const exited = new Promise<void>((resolve) => thread.once("exit", () => resolve()));
    thread.postMessage("stop" satisfies ToListThread);
    const timer = setTimeout(() => void thread.terminate(), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  #start(): Worker {
    const workerData: ListThreadData = { path: this.#path };
    const thread = startThread("./list-thread", import.meta.url, { workerData });
    thread.on("message", (answer: FromListThread) => {
      const waiting = this.#waiting.get(answer.id);
      if (!waiting) return;
      clearTimeout(waiting.timer);
      this.#waiting.delete(answer.id);
      if ("result" in answer) waiting.resolve(unpack(answer.result));
      else waiting.reject(new Error(`reading a list failed: ${answer.error}`));
    });
    const died = (reason: unknown): void => {
      if (this.#thread === thread) this.#thread = undefined;
      this.#rejectAll(unavailable("the thread that reads lists ended", { cause: reason, retryAfterMs: 500 }));
    };
    thread.once("error", died);
    thread.once("exit", (code) => died(new Error(`exit code ${code}`)));
    return thread;
  }

  #rejectAll(error: Error): void {
    for (const { timer, reject } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }
}
