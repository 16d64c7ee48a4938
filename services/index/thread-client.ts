import type { TransferListItem, Worker } from "node:worker_threads";
import type { FromThread, Progress } from "./vector-protocol.ts";

/** Asks a thread and gets its answers. A thread that dies takes its requests with it and reports to `onDeath`. */
export class ThreadClient<Request> {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
  #nextId = 1;
  #stopping = false;
  /** It answers no more. */
  #ended: Error | undefined;

  constructor(
    worker: Worker,
    options: {
      readonly onDeath: (error: Error) => void;
      readonly onProgress?: (index: number, progress: Progress) => void;
    },
  ) {
    this.#worker = worker;
    worker.on("message", (message: FromThread) => {
      if ("type" in message) return options.onProgress?.(message.index, message.progress);
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ("error" in message) waiting?.reject(new Error(message.error));
      else waiting?.resolve(message.result);
    });
    const died = (error: Error): void => {
      this.#ended ??= error;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
      if (!this.#stopping) options.onDeath(error);
    };
    worker.once("error", died);
    worker.once("exit", (code) => died(new Error(`the thread ended with code ${code}`)));
  }

  /** @throws what the thread threw */
  ask<R>(request: Request, transfer: readonly TransferListItem[] = []): Promise<R> {
    if (this.#ended) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    return new Promise<R>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (result) => resolve(result as R), reject });
      this.#worker.postMessage({ id, request }, transfer);
    });
  }

  /** A message without an answer. */
  tell(message: unknown): void {
    this.#worker.postMessage(message);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#ended ??= new Error("the thread was stopped");
    await this.#worker.terminate();
  }
}
