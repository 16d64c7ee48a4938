import { readFile } from "node:fs/promises";
import { ArrwError } from "../errors.ts";

export interface ApiKeyOptions {
  /** The setting that holds the key: "ARRW_OPENAI_API_KEY"; the one of its file has _FILE behind it. */
  readonly setting: string;
  /** "" = none. */
  readonly value: string;
  /** "" = none; it wins over the value. */
  readonly file: string;
}

/** Visible ASCII: what a header can carry. */
const USABLE = /^[\x21-\x7e]+$/;
const MAX_KEY_BYTES = 16_384;

/** A provider's key. It never leaves this class but for the header of a call. */
export class ApiKey {
  readonly #options: ApiKeyOptions;
  #read: string | undefined;

  constructor(options: ApiKeyOptions) {
    this.#options = options;
  }

  /** "" = none is set: a server of one's own may need none. @throws EMBEDDING_UNAUTHORIZED for one that can't be used */
  async get(): Promise<string> {
    const { value, file } = this.#options;
    if (file !== "") this.#read ??= await this.#readFile();
    const key = file === "" ? value.trim() : (this.#read ?? "");
    if (key !== "" && !USABLE.test(key)) throw this.unauthorized("it has characters that no key has");
    return key;
  }

  /** The provider refused it: reads its file again. @returns whether there is another one now */
  async renew(refused: string): Promise<boolean> {
    if (this.#options.file === "") return false;
    this.#read = undefined;
    return (await this.get()) !== refused;
  }

  /** The error that tells an operator where to look, without the key. */
  unauthorized(why: string): ArrwError {
    const { setting, value, file } = this.#options;
    const where =
      file !== ""
        ? `check the key in the file that ${setting}_FILE names`
        : value !== ""
          ? `check ${setting}`
          : `no key is set: set ${setting} or ${setting}_FILE`;
    return new ArrwError("FAILED_PRECONDITION", `${why}; ${where}`, { reason: "EMBEDDING_UNAUTHORIZED" });
  }

  async #readFile(): Promise<string> {
    let text: string;
    try {
      text = await readFile(this.#options.file, "utf8");
    } catch (error) {
      throw this.unauthorized(`the file can't be read (${(error as NodeJS.ErrnoException).code ?? "error"})`);
    }
    const key = text.trim();
    if (key === "") throw this.unauthorized("the file is empty");
    if (key.length > MAX_KEY_BYTES) throw this.unauthorized("the file is too large for a key");
    return key;
  }
}
