import { createHash } from "node:crypto";
import type { Nats } from "./connection.ts";
import { Subject } from "./names.ts";
import { appendObject, type Manifest, PART_BYTES, type Piece, readParts } from "./object-parts.ts";

/** How far an object is written: what a later writer needs to go on. */
export interface WrittenSoFar {
  readonly sizeBytes: number;
  readonly pieces: readonly Piece[];
}

export interface ObjectWriterOptions {
  readonly objectId: string;
  /** Letters, digits, "-"; no other writer of the object has it. What two of them write never gets mixed. */
  readonly writer: string;
  /** Whose manifest it is. Default: `writer`. */
  readonly finisher?: string;
  /** Where an earlier writer was; undefined = from the beginning. All its bytes up to there are stored. */
  readonly from?: WrittenSoFar | undefined;
  /** Wraps each append, to repeat it: appending twice is harmless. Default: once. */
  readonly persist?: (append: () => Promise<void>) => Promise<void>;
  /** Ends reading back. */
  readonly signal?: AbortSignal;
}

const WINDOW = 8;

/**
 * Writes an object bit by bit, and goes on with one that another writer has begun. Parts carry the name of who wrote
 * them, and the manifest says whose count: a writer that was given up and is still alive can't spoil the object of the
 * one after it. Holds at most `WINDOW` parts.
 */
export class ObjectWriter {
  readonly #nats: Nats;
  readonly #options: ObjectWriterOptions;
  readonly #pieces: readonly Piece[];
  readonly #hash = createHash("sha256");
  readonly #inFlight: { readonly sent: Promise<void>; readonly buffer: Uint8Array }[] = [];
  /** Of parts that are stored: to be filled again, since fresh memory for each would pile up until it is collected. */
  readonly #spare: Uint8Array[] = [];
  #part: Uint8Array = new Uint8Array(PART_BYTES);
  #filled = 0;
  #parts: number;
  #sizeBytes: number;

  private constructor(nats: Nats, options: ObjectWriterOptions) {
    const { sizeBytes = 0, pieces = [] } = options.from ?? {};
    this.#nats = nats;
    this.#options = options;
    this.#parts = Math.floor(sizeBytes / PART_BYTES);
    this.#sizeBytes = this.#parts * PART_BYTES;
    const mine: Piece = { writer: options.writer, fromPart: this.#parts };
    this.#pieces = [...pieces.filter(({ fromPart }) => fromPart < mine.fromPart), mine];
  }

  /** Reads back what an earlier writer wrote, for the checksum. @throws ArrwError DATA_LOSS when it is gone */
  static async open(nats: Nats, options: ObjectWriterOptions): Promise<ObjectWriter> {
    const writer = new ObjectWriter(nats, options);
    if (options.from) await writer.#readBack(options.from);
    return writer;
  }

  /** Bytes taken so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes of them that a later writer will find. */
  get storedBytes(): number {
    return (this.#parts - this.#inFlight.length) * PART_BYTES;
  }

  /** See `ObjectWriterOptions.from`; a size up to `storedBytes` goes with it. */
  get pieces(): readonly Piece[] {
    return this.#pieces;
  }

  /** Copies the bytes; waits while too much is on its way. */
  async write(data: Uint8Array): Promise<void> {
    for (let taken = 0; taken < data.length; ) {
      taken += this.#take(taken === 0 ? data : data.subarray(taken));
      if (this.#filled === PART_BYTES) await this.#sendPart();
    }
  }

  /** Stores the rest and the manifest, which is this writer's own. */
  async finish(): Promise<Manifest> {
    const { objectId, writer, finisher = writer } = this.#options;
    if (this.#filled > 0) await this.#sendPart();
    while (this.#inFlight.length > 0) await this.#settleOldest();
    const manifest: Manifest = {
      sizeBytes: this.#sizeBytes,
      parts: this.#parts,
      partBytes: PART_BYTES,
      sha256: this.#hash.digest("hex"),
      pieces: this.#pieces,
    };
    await this.#append(Subject.objectManifest(objectId, finisher), Buffer.from(JSON.stringify(manifest)));
    return manifest;
  }

  /** Resolves when nothing is on its way any more, stored or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#inFlight.map(({ sent }) => sent));
  }

  async #readBack({ sizeBytes, pieces }: WrittenSoFar): Promise<void> {
    const { objectId, signal } = this.#options;
    const rest = sizeBytes - this.#parts * PART_BYTES;
    const end = this.#parts + (rest > 0 ? 1 : 0);
    let part = 0;
    for await (const data of readParts(this.#nats, { objectId, pieces, first: 0, end })) {
      signal?.throwIfAborted();
      if (part < this.#parts) this.#hash.update(data);
      else this.#take(data.subarray(0, rest));
      part += 1;
    }
  }

  /** @returns how many bytes there was room for */
  #take(data: Uint8Array): number {
    const taken = Math.min(data.length, PART_BYTES - this.#filled);
    this.#part.set(taken === data.length ? data : data.subarray(0, taken), this.#filled);
    this.#filled += taken;
    this.#sizeBytes += taken;
    return taken;
  }

  async #sendPart(): Promise<void> {
    const buffer = this.#part;
    const part = buffer.subarray(0, this.#filled);
    this.#part = this.#spare.pop() ?? new Uint8Array(PART_BYTES);
    this.#filled = 0;
    this.#hash.update(part);
    const sent = this.#append(
      Subject.objectPart(this.#options.objectId, this.#parts, this.#options.writer),
      part,
    );
    // Its failure is met when its turn comes; until then it must not count as unhandled.
    sent.catch(() => undefined);
    this.#parts += 1;
    this.#inFlight.push({ sent, buffer });
    if (this.#inFlight.length >= WINDOW) await this.#settleOldest();
  }

  async #settleOldest(): Promise<void> {
    const oldest = this.#inFlight[0];
    await oldest?.sent;
    this.#inFlight.shift();
    if (oldest) this.#spare.push(oldest.buffer);
  }

  #append(subject: string, data: Uint8Array): Promise<void> {
    const append = (): Promise<void> => appendObject(this.#nats, subject, data);
    return this.#options.persist ? this.#options.persist(append) : append();
  }
}
