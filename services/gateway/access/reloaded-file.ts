import { readFile, stat } from "node:fs/promises";
import type { Part } from "../../../platform/lifecycle.ts";
import type { Logger } from "../../../platform/log.ts";

export interface ReloadedFileOptions<T> {
  /** For logs: "API keys". */
  readonly what: string;
  readonly path: string;
  /** @throws Error in words for the log; none of them secret */
  readonly parse: (text: string) => T | Promise<T>;
  readonly log: Logger;
  /** Should nobody but its owner read it? */
  readonly private: boolean;
  /** Default 2,000. */
  readonly pollMs?: number;
  /** Default: the file system's. */
  readonly read?: (path: string) => Promise<string>;
}

const POLL_MS = 2_000;
const MAX_BYTES = 4 * 1024 * 1024;
const OTHERS = 0o077;

/**
 * A file whose content counts as long as the process runs: read again when it was changed or replaced. It is looked at
 * every 2 s, which sees what notifications of file systems miss: renames, symbolic links of mounted secrets, network
 * folders. What can't be read then changes nothing, and is tried again at the next look: else a key that was taken away
 * would go on to count. What was read and is wrong is tried again when it is changed.
 */
export class ReloadedFile<T> implements Part {
  readonly name: string;
  readonly #options: ReloadedFileOptions<T>;
  #value: T | undefined;
  #version = 0;
  /** Of what was read, or is wrong. */
  #seen = "";
  /** The error that was logged last, while it lasts: of one that stays there is a line, not one every 2 s. */
  #logged = "";
  #timer: NodeJS.Timeout | undefined;
  #reading: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ReloadedFileOptions<T>) {
    this.name = options.what;
    this.#options = options;
  }

  /** After `start`. */
  get value(): T {
    if (this.#value === undefined) throw new Error(`${this.name} are used before they were read`);
    return this.#value;
  }

  /** Another number after each change. */
  get version(): number {
    return this.#version;
  }

  /** @throws Error when the file can't be read, or is wrong */
  async start(): Promise<void> {
    await this.#read();
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#reading;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#reading = this.#poll().finally(() => this.#schedule());
    }, this.#options.pollMs ?? POLL_MS);
    this.#timer.unref();
  }

  async #poll(): Promise<void> {
    const { path, log } = this.#options;
    try {
      if ((await this.#stamp()) !== this.#seen) {
        await this.#read();
        log.info({ file: path }, `${this.name}: the changed file is used from now on`);
      }
      this.#logged = "";
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (reason !== this.#logged)
        log.error({ file: path }, `${reason}; what was read before goes on to count`);
      this.#logged = reason;
    }
  }

  async #read(): Promise<void> {
    try {
      // Before the file: what is written meanwhile is another one.
      const stamp = await this.#stamp();
      const text = await this.#text();
      // Only now: a file that could not be read has not been seen.
      this.#seen = stamp;
      if (typeof text !== "string") throw text;
      this.#value = await this.#options.parse(text);
      this.#version += 1;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${this.name} in ${this.#options.path}: ${reason}`);
    }
  }

  /** An Error is what is wrong with the file. @throws Error when it can't be read now */
  async #text(): Promise<string | Error> {
    const { path, log, read = (file) => readFile(file, "utf8") } = this.#options;
    const { mode, size } = await stat(path);
    if (size > MAX_BYTES) return new Error(`${size} bytes; at most ${MAX_BYTES}`);
    const text = await read(path);
    if (this.#options.private && (mode & OTHERS) !== 0)
      log.warn(
        { file: path, mode: (mode & 0o777).toString(8) },
        `${this.name}: others than the owner can read the file`,
      );
    return text;
  }

  /** Another text after each change; "" = the file is not there. */
  async #stamp(): Promise<string> {
    const found = await stat(this.#options.path, { bigint: true }).catch(() => undefined);
    return found === undefined
      ? ""
      : `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
  }
}
