import { createHash } from "node:crypto";
import { ArrwError, notFound } from "../errors.ts";
import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";

/**
 * Payloads and results as parts in a stream, so that a reader can start at any byte and neither side holds more
 * than a few parts. The manifest is written last: an object without one is not there, and a janitor removes it.
 */

export const PART_BYTES = 512 * 1024;
const WINDOW = 8;
const APPEND_TIMEOUT_MS = 10_000;

export interface Manifest {
  readonly sizeBytes: number;
  readonly parts: number;
  readonly partBytes: number;
  /** Hex. */
  readonly sha256: string;
}

/** Where large inputs and results live. */
export interface ObjectStore {
  /** Stores the bytes and resolves when they are durable. `objectId`: letters, digits, "-". A repeat replaces. */
  put(
    objectId: string,
    source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    signal?: AbortSignal,
  ): Promise<Manifest>;
  /** undefined: no such object, or not complete. */
  manifest(objectId: string): Promise<Manifest | undefined>;
  /** The bytes from `offset` to the end. @throws ArrwError NOT_FOUND, DATA_LOSS */
  read(objectId: string, offset: number): AsyncIterable<Uint8Array>;
  /** Removing what is not there is fine. */
  remove(objectId: string): Promise<void>;
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
    const inFlight: Promise<number>[] = [];
    let parts = 0;
    let sizeBytes = 0;
    const append = async (data: Uint8Array): Promise<void> => {
      signal?.throwIfAborted();
      hash.update(data);
      sizeBytes += data.length;
      const sent = this.#append(Subject.objectPart(objectId, parts++), data);
      // Its failure is met at the await below; this keeps it from counting as unhandled until then.
      sent.catch(() => undefined);
      inFlight.push(sent);
      if (inFlight.length >= WINDOW) await inFlight.shift();
    };
    for await (const part of cut(source, PART_BYTES)) await append(part);
    await Promise.all(inFlight);
    const manifest: Manifest = { sizeBytes, parts, partBytes: PART_BYTES, sha256: hash.digest("hex") };
    await this.#append(Subject.objectManifest(objectId), Buffer.from(JSON.stringify(manifest)));
    return manifest;
  }

  async manifest(objectId: string): Promise<Manifest | undefined> {
    const found = await this.#nats.getMessage(Stream.objects, {
      lastBySubject: Subject.objectManifest(objectId),
    });
    return found && (JSON.parse(new TextDecoder().decode(found.data)) as Manifest);
  }

  async *read(objectId: string, offset: number): AsyncIterable<Uint8Array> {
    const manifest = await this.manifest(objectId);
    if (!manifest) throw notFound("object", objectId);
    const first = Math.floor(offset / manifest.partBytes);
    let skip = offset - first * manifest.partBytes;
    const ahead: Promise<Uint8Array>[] = [];
    for (let part = first; part < manifest.parts || ahead.length > 0; part++) {
      if (part < manifest.parts) {
        const wanted = this.#part(objectId, part);
        wanted.catch(() => undefined);
        ahead.push(wanted);
      }
      if (ahead.length < 4 && part < manifest.parts - 1) continue;
      const data = await ahead.shift();
      if (data) yield skip > 0 ? data.subarray(skip) : data;
      skip = 0;
    }
  }

  async remove(objectId: string): Promise<void> {
    await this.#nats.purge(Stream.objects, { subject: Subject.objectAll(objectId) });
  }

  async #part(objectId: string, part: number): Promise<Uint8Array> {
    const found = await this.#nats.getMessage(Stream.objects, {
      lastBySubject: Subject.objectPart(objectId, part),
    });
    if (!found) throw new ArrwError("DATA_LOSS", `part ${part} of object ${objectId} is missing`);
    return found.data;
  }

  async #append(subject: string, data: Uint8Array): Promise<number> {
    try {
      return await this.#nats.append(subject, data, { timeoutMs: APPEND_TIMEOUT_MS });
    } catch (error) {
      const full = error instanceof Error && "errCode" in error && error.errCode === 10_077;
      if (full) throw new ArrwError("RESOURCE_EXHAUSTED", "the object storage is full", { cause: error });
      throw new ArrwError("UNAVAILABLE", "the object storage does not answer", { cause: error });
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
