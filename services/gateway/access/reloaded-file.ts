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
}

const POLL_MS = 2_000;
const MAX_BYTES = 4 * 1024 * 1024;
const OTHERS = 0o077;

/**
 * A file whose content counts as long as the process runs: read again when it was changed or replaced. It is looked at
 * every 2 s, which sees what notifications of file systems miss: renames, symbolic links of mounted secrets, network
 * folders. What can't be read then changes nothing.
 */
export class ReloadedFile<T> implements Part {
  readonly name: string;
  readonly #options: ReloadedFileOptions<T>;
  #value: T | undefined;
  #version = 0;
  #seen = "";
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
    try {
      if ((await this.#stamp()) === this.#seen) return;
      await this.#read();
      this.#options.log.info(
        { file: this.#options.path },
        `${this.name}: the changed file is used from now on`,
      );
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const { path, log } = this.#options;
      log.error({ file: path }, `${reason}; what was read before goes on to count`);
    }
  }

  async #read(): Promise<void> {
    const { path, parse, log } = this.#options;
    try {
      // A file that is wrong is spoken of once, not every 2 s.
      this.#seen = await this.#stamp();
      const { mode, size } = await stat(path);
      if (size > MAX_BYTES) throw new Error(`${size} bytes; at most ${MAX_BYTES}`);
      if (this.#options.private && (mode & OTHERS) !== 0)
        log.warn(
          { file: path, mode: (mode & 0o777).toString(8) },
          `${this.name}: others than the owner can read the file`,
        );
      this.#value = await parse(await readFile(path, "utf8"));
      this.#version += 1;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`${this.name} in ${path}: ${reason}`);
    }
  }

  /** Another text after each change; "" = the file is not there. */
  async #stamp(): Promise<string> {
    const found = await stat(this.#options.path, { bigint: true }).catch(() => undefined);
    return found === undefined
      ? ""
      : `${found.dev} ${found.ino} ${found.size} ${found.mtimeNs} ${found.ctimeNs}`;
  }
}
