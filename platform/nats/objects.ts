import { createHash } from "node:crypto";
import { notFound } from "../errors.ts";
import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";
import { appendObject, type Manifest, PART_BYTES, readParts } from "./object-parts.ts";
import { ObjectWriter, type ObjectWriterOptions } from "./object-writer.ts";

/**
 * Payloads and results as parts in a stream, so that a reader can start at any byte and neither side holds more
 * than a few parts. The manifest is written last: an object without one is not there, and a janitor removes it.
 */

export { type Manifest, PART_BYTES } from "./object-parts.ts";

const WINDOW = 8;

/** Where large inputs and results live. */
export interface ObjectStore {
  /** Stores the bytes and resolves when they are durable. `objectId`: letters, digits, "-". A repeat replaces. */
  put(
    objectId: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<Manifest>;
  /** Writes one bit by bit, from its beginning or from where an earlier writer was. @throws ArrwError DATA_LOSS */
  writer(options: ObjectWriterOptions): Promise<ObjectWriter>;
  /** undefined: no such object, or not complete. `writer`: who finished it, of those that ObjectWriter wrote. */
  manifest(objectId: string, writer?: string): Promise<Manifest | undefined>;
  /** The bytes from `offset` to the end. @throws ArrwError NOT_FOUND, DATA_LOSS */
  read(objectId: string, offset: number, writer?: string): AsyncIterable<Uint8Array>;
  /** Removing what is not there is fine. */
  remove(objectId: string): Promise<void>;
  /** Removes what some of its writers wrote. @throws ArrwError UNAVAILABLE */
  removeWritten(objectId: string, isOver: (writer: string) => boolean): Promise<void>;
}

export class JetStreamObjects implements ObjectStore {
  readonly #nats: Nats;

  constructor(nats: Nats) {
    this.#nats = nats;
  }

  async put(
    objectId: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<Manifest> {
    const hash = createHash("sha256");
    const inFlight: Promise<void>[] = [];
    let parts = 0;
    let sizeBytes = 0;
    const append = async (data: Uint8Array): Promise<void> => {
      signal?.throwIfAborted();
      hash.update(data);
      sizeBytes += data.length;
      const sent = appendObject(this.#nats, Subject.objectPart(objectId, parts++), data);
      // Its failure is met at the await below; this keeps it from counting as unhandled until then.
      sent.catch(() => undefined);
      inFlight.push(sent);
      if (inFlight.length >= WINDOW) await inFlight.shift();
    };
    for await (const part of cut(source, PART_BYTES)) await append(part);
    await Promise.all(inFlight);
    const manifest: Manifest = { sizeBytes, parts, partBytes: PART_BYTES, sha256: hash.digest("hex") };
    await appendObject(this.#nats, Subject.objectManifest(objectId), Buffer.from(JSON.stringify(manifest)));
    return manifest;
  }

  writer(options: ObjectWriterOptions): Promise<ObjectWriter> {
    return ObjectWriter.open(this.#nats, options);
  }

  async manifest(objectId: string, writer?: string): Promise<Manifest | undefined> {
    const found = await this.#nats.getMessage(Stream.objects, {
      lastBySubject: Subject.objectManifest(objectId, writer),
    });
    return found && (JSON.parse(new TextDecoder().decode(found.data)) as Manifest);
  }

  async *read(objectId: string, offset: number, writer?: string): AsyncIterable<Uint8Array> {
    const manifest = await this.manifest(objectId, writer);
    if (!manifest) throw notFound("object", objectId);
    const first = Math.floor(offset / manifest.partBytes);
    let skip = offset - first * manifest.partBytes;
    const range = { objectId, pieces: manifest.pieces, first, end: manifest.parts };
    for await (const data of readParts(this.#nats, range)) {
      yield skip > 0 ? data.subarray(skip) : data;
      skip = 0;
    }
  }

  async remove(objectId: string): Promise<void> {
    await this.#nats.purge(Stream.objects, { subject: Subject.objectAll(objectId) });
  }

  async removeWritten(objectId: string, isOver: (writer: string) => boolean): Promise<void> {
    const subjects = await this.#nats.streamSubjects(Stream.objects, Subject.objectAll(objectId));
    const writers = new Set(Object.keys(subjects).map((subject) => subject.split(".")[4] ?? ""));
    for (const writer of writers) {
      if (writer === "" || !isOver(writer)) continue;
      await this.#nats.purge(Stream.objects, { subject: Subject.objectWritten(objectId, writer) });
    }
  }
}

/** Cuts a byte stream into pieces of `size`; the last one may be shorter. */
async function* cut(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  size: number,
): AsyncGenerator<Uint8Array> {
  let gathered: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of source) {
    gathered.push(chunk);
    bytes += chunk.length;
    if (bytes < size) continue;
    let all = Buffer.concat(gathered);
    while (all.length >= size) {
      yield all.subarray(0, size);
      all = all.subarray(size);
    }
    gathered = all.length > 0 ? [all] : [];
    bytes = all.length;
  }
  if (bytes > 0) yield Buffer.concat(gathered);
}
