import type { Worker } from "node:worker_threads";
import { unavailable } from "../../platform/errors.ts";
import { startThread } from "../../platform/thread.ts";
import {
  type FromListThread,
  type ListThreadData,
  processMs,
  type ToListThread,
  unpack,
} from "./list-protocol.ts";
import type { ScanRequest, ScanResult } from "./list-scan.ts";

/** Lists that the thread has to answer at most, also those that nobody waits for any more. */
const MAX_WAITING = 200;
const SCAN_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 5_000;

interface Waiting {
  readonly timer: NodeJS.Timeout;
  resolve(result: ScanResult): void;
  reject(error: Error): void;
}

/** A thread as far as it is used here. */
export interface ListThread {
  postMessage(message: ToListThread): void;
  on(event: "message", listener: (answer: FromListThread) => void): unknown;
  once(event: "error", listener: (error: unknown) => void): unknown;
  once(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

/** @param path folder of the store, which is open in this process already */
export function startListThread(path: string): Worker {
  const workerData: ListThreadData = { path };
  return startThread("./list-thread", import.meta.url, { workerData });
}

/** Asks the list thread; it is started by the first list, and anew by the next one when it died. */
export class ListClient {
  readonly #startThread: () => ListThread;
  readonly #waiting = new Map<number, Waiting>();
  #thread: ListThread | undefined;
  #nextId = 1;
  #stopping: Promise<void> | undefined;

  constructor(startThread: () => ListThread) {
    this.#startThread = startThread;
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
      // Its place stays taken until the thread has come to it: what the thread has before it is bounded.
      const timer = setTimeout(() => {
        reject(unavailable(`a list was not read within ${SCAN_TIMEOUT_MS} ms`, { retryAfterMs: 500 }));
      }, SCAN_TIMEOUT_MS);
      this.#waiting.set(id, { timer, resolve, reject });
      thread.postMessage({ id, request, deadlineMs: processMs() + SCAN_TIMEOUT_MS });
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
    thread.postMessage("stop");
    const timer = setTimeout(() => void thread.terminate(), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  }

  #start(): ListThread {
    const thread = this.#startThread();
    thread.on("message", (answer: FromListThread) => {
      const waiting = this.#waiting.get(answer.id);
      if (!waiting) return;
      clearTimeout(waiting.timer);
      this.#waiting.delete(answer.id);
      if ("result" in answer) waiting.resolve(unpack(answer.result));
      else waiting.reject(new Error(`reading a list failed: ${answer.error}`));
    });
    const died = (reason: unknown): void => {
      // "exit" follows "error"; a thread started in between has what waits now.
      if (this.#thread !== thread) return;
      this.#thread = undefined;
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
