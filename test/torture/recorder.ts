import { createWriteStream, type WriteStream } from "node:fs";
import type { Entry } from "./history.ts";

/** Keeps a run's history, in memory for the checks and as NDJSON in a file for people. */
export class Recorder {
  readonly path: string;
  readonly entries: Entry[] = [];
  readonly #file: WriteStream;
  #closed = false;

  constructor(path: string) {
    this.path = path;
    this.#file = createWriteStream(path);
  }

  add(entry: Entry): void {
    if (this.#closed) return;
    this.entries.push(entry);
    this.#file.write(`${JSON.stringify(entry)}\n`);
  }

  /** Resolves when the file is written; later entries are dropped. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await new Promise<void>((resolve) => this.#file.end(resolve));
  }
}

/** Unix ms that never go back, however the wall clock is set. */
export function clockMs(): number {
  return performance.timeOrigin + performance.now();
}
