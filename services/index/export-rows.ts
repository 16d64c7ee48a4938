import type { Database } from "lmdb";
import type { DocumentRow, Embedding, Store } from "./store.ts";

/** What exports leave in a library's store. */

/** A library as it was at one moment. */
export interface ExportRow {
  readonly exportId: string;
  /** Its own for ever: grows, and is above the milliseconds of the clock when it was pinned. */
  readonly pin: number;
  /** A document whose first key is below it was there already. */
  readonly nextKey: number;
  /** Documents up to this id aren't asked for again. */
  readonly letGo: string;
  readonly documents: number;
  readonly chunks: number;
  /** One that has the vectors. */
  readonly generation: number;
  readonly embedding: Embedding;
  /** Name of the set that has its vectors. */
  readonly vectors: string;
  readonly atMs: number;
}

/** A document that was replaced or removed since the pin, as it was. */
export interface ExportImage {
  readonly row: DocumentRow;
  readonly texts: readonly string[];
  /** One behind the other; empty when the set was gone by then. */
  readonly vectors: Buffer;
}

export interface ExportRows {
  readonly store: Store;
  readonly exports: Database<ExportRow, string>;
  /** By pin and document id, see `imageKey`. */
  readonly images: Database<ExportImage, Buffer>;
}

export function openExportRows(store: Store): ExportRows {
  return {
    store,
    exports: store.env.openDB({ name: "exports" }),
    images: store.env.openDB({ name: "export-images", keyEncoding: "binary" }),
  };
}

const PIN_BYTES = 6;

/** Images of a pin lie together, by document id bytewise. */
export function imageKey(pin: number, documentId: Uint8Array | string): Buffer {
  const key = Buffer.alloc(PIN_BYTES);
  key.writeUIntBE(pin, 0, PIN_BYTES);
  return Buffer.concat([key, typeof documentId === "string" ? Buffer.from(documentId) : documentId]);
}

export function documentOfImage(key: Buffer): Buffer {
  return key.subarray(PIN_BYTES);
}

export function pinOfImage(key: Buffer): number {
  return key.readUIntBE(0, PIN_BYTES);
}

/** A document of an export with what belongs to it; texts and vectors are read when they are wanted. */
export function imageOf(store: Store, row: DocumentRow, vectorSet: string | undefined): ExportImage {
  const keys = Array.from({ length: row.chunks }, (_, n) => row.firstKey + n);
  const set = vectorSet === undefined ? undefined : store.vectors(vectorSet);
  return {
    row,
    texts: keys.map((key) => store.chunks.get(key)?.[2] ?? ""),
    vectors: set ? Buffer.concat(keys.map((key) => set.get(key) ?? Buffer.alloc(0))) : Buffer.alloc(0),
  };
}
