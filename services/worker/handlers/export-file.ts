import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { Manifest } from "../../../platform/nats/object-parts.ts";
import type { ObjectWriter } from "../../../platform/nats/object-writer.ts";

const compress = promisify(gzip);
/** Text that is encoded at a time. */
const SCRATCH_BYTES = 256 * 1024;
/** Text in a gzip member, about. */
const MEMBER_BYTES = 4 * 1024 * 1024;
/** From so much on a member may end early: smaller ones cost compression. */
const MIN_MEMBER_BYTES = 1024 * 1024;

export type ExportFileWriter = Pick<
  ObjectWriter,
  "write" | "finish" | "settled" | "sizeBytes" | "storedBytes" | "pieces"
>;

/**
 * A file in the object store that text is written to; a compressed one is made of gzip members, one after the other. Its
 * buffers are used again and again.
 */
export class ExportFile {
  readonly #writer: ExportFileWriter;
  readonly #encoder = new TextEncoder();
  readonly #scratch = new Uint8Array(SCRATCH_BYTES);
  /** The open gzip member; undefined = nothing is compressed. */
  readonly #member: Uint8Array | undefined;
  #held = 0;

  constructor(writer: ExportFileWriter, gzip: boolean) {
    this.#writer = writer;
    this.#member = gzip ? new Uint8Array(MEMBER_BYTES + SCRATCH_BYTES) : undefined;
  }

  /** Size of the file that ends with the last text written; undefined while a gzip member is open. */
  get sizeBytes(): number | undefined {
    return this.#held === 0 ? this.#writer.sizeBytes : undefined;
  }

  /** Bytes of the file that another writer will find. */
  get storedBytes(): number {
    return this.#writer.storedBytes;
  }

  get pieces(): ObjectWriter["pieces"] {
    return this.#writer.pieces;
  }

  async write(text: string): Promise<void> {
    for (let rest = text; rest !== ""; ) {
      const { read, written } = this.#encoder.encodeInto(rest, this.#scratch);
      await this.#take(this.#scratch.subarray(0, written));
      rest = read === rest.length ? "" : rest.slice(read);
    }
    if (this.#held >= MEMBER_BYTES) await this.#endMember();
  }

  /** Ends the open gzip member if it is large enough, so that `sizeBytes` is known: only there an export can go on. */
  async endLargeMember(): Promise<void> {
    if (this.#held >= MIN_MEMBER_BYTES) await this.#endMember();
  }

  async finish(): Promise<Manifest> {
    // An empty file is no gzip file.
    if (this.#held > 0 || (this.#member && this.#writer.sizeBytes === 0)) await this.#endMember();
    return this.#writer.finish();
  }

  /** Resolves when nothing is on its way any more, stored or not. */
  settled(): Promise<void> {
    return this.#writer.settled();
  }

  async #take(bytes: Uint8Array): Promise<void> {
    if (!this.#member) return this.#writer.write(bytes);
    // A text that is larger than a member fills several.
    if (this.#held + bytes.length > this.#member.length) await this.#endMember();
    this.#member.set(bytes, this.#held);
    this.#held += bytes.length;
  }

  async #endMember(): Promise<void> {
    const member = await compress(this.#member?.subarray(0, this.#held) ?? "");
    this.#held = 0;
    await this.#writer.write(member);
  }
}
