import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Manifest } from "../../../platform/nats/object-parts.ts";
import type { ObjectWriter } from "../../../platform/nats/object-writer.ts";

const compress = promisify(gzip);
/** Text that one gzip member holds, about. */
const MEMBER_BYTES = 4 * 1024 * 1024;

/** A file in the object store that text is written to; a compressed one is made of gzip members, one after the other. */
export class ExportFile {
  readonly #writer: ObjectWriter;
  readonly #gzip: boolean;
  #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(writer: ObjectWriter, gzip: boolean) {
    this.#writer = writer;
    this.#gzip = gzip;
  }

  /** Size of the file that ends with the last text written; undefined while a gzip member is open. */
  get sizeBytes(): number | undefined {
    return this.#heldBytes === 0 ? this.#writer.sizeBytes : undefined;
  }

  /** Bytes of the file that another writer will find. */
  get storedBytes(): number {
    return this.#writer.storedBytes;
  }

  get pieces(): ObjectWriter["pieces"] {
    return this.#writer.pieces;
  }

  async write(text: string): Promise<void> {
    const bytes = Buffer.from(text);
    if (!this.#gzip) return this.#writer.write(bytes);
    this.#held.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes >= MEMBER_BYTES) await this.#endMember();
  }

  async finish(): Promise<Manifest> {
    // An empty file is no gzip file.
    if (this.#heldBytes > 0 || (this.#gzip && this.#writer.sizeBytes === 0)) await this.#endMember();
    return this.#writer.finish();
  }

  /** Resolves when nothing is on its way any more, stored or not. */
  settled(): Promise<void> {
    return this.#writer.settled();
  }

  async #endMember(): Promise<void> {
    const member = await compress(Buffer.concat(this.#held, this.#heldBytes));
    this.#held = [];
    this.#heldBytes = 0;
    await this.#writer.write(member);
  }
}
