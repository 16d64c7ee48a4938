import { createHash, type Hash } from "node:crypto";
import { delimited } from "../../platform/delimited.ts";
import type { Logger } from "../../platform/log.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";

/** Puts the documents of an import into an object, for the worker to read: encoded, each behind its length. */

export interface Spooled {
  /** "" = there was nothing to spool. */
  readonly objectId: string;
  readonly items: number;
  readonly bytes: number;
}

export class Spool {
  readonly #objects: ObjectStore;
  readonly #log: Logger;

  constructor(objects: ObjectStore, log: Logger) {
    this.#objects = objects;
    this.#log = log;
  }

  /** Takes the documents as fast as they can be stored. What was written of a failed one is removed. */
  async put(
    objectId: string,
    documents: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<Spooled> {
    let items = 0;
    async function* framed(): AsyncGenerator<Uint8Array> {
      for await (const document of documents) {
        items += 1;
        yield delimited(document);
      }
    }
    try {
      const { sizeBytes } = await this.#objects.put(objectId, framed(), signal);
      return { objectId, items, bytes: sizeBytes };
    } catch (error) {
      this.remove(objectId);
      throw error;
    }
  }

  /** Best effort, in the background: the scheduler's janitor collects what stays behind. */
  remove(objectId: string): void {
    if (objectId === "") return;
    this.#objects.remove(objectId).catch((error: unknown) => {
      this.#log.debug({ err: error, object: objectId }, "an unused payload stays for the janitor");
    });
  }
}

/** SHA-256 over a request and its documents, each behind its length. */
export class RequestDigest {
  readonly #hash: Hash = createHash("sha256");

  add(part: Uint8Array): void {
    this.#hash.update(delimited(part));
  }

  finish(): Buffer {
    return this.#hash.digest();
  }
}
