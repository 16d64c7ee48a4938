import { ArrwError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Document } from "../../proto/gen/arrwdb/v1/document.ts";
import { readPage } from "./export-reader.ts";
import {
  type ExportRow,
  type ExportRows,
  imageKey,
  imageOf,
  openExportRows,
  pinOfImage,
} from "./export-rows.ts";
import { liveGeneration } from "./generations.ts";
import { type DocumentRow, durably, readState, type Store } from "./store.ts";

export interface ExportPageRequest {
  readonly exportId: string;
  readonly pin: number;
  /** Documents behind this id. */
  readonly after: string;
  /** Those up to this id aren't asked for again. */
  readonly letGo: string;
  readonly includeVectors: boolean;
}

interface OpenExport {
  row: ExportRow;
  letGo: Buffer;
  idle: NodeJS.Timeout;
}

const MAX_EXPORTS = 16;
const IDLE_MS = 120_000;
/** A transaction removes up to so many images. */
const REMOVED_AT_ONCE = 200;

/**
 * Exports of one library: each is pinned at one moment and reads documents as they were then, while the library changes.
 * Chunk keys only grow, so the next key at the pin tells what was written later; what is replaced or removed later is
 * kept as it was, in the transaction that does so, until the export has let go of it. Nothing holds a read transaction
 * for longer than a turn.
 */
export class Exports {
  readonly #rows: ExportRows;
  readonly #log: Logger;
  readonly #idleMs: number;
  readonly #open = new Map<string, OpenExport>();
  #removing: Promise<void> = Promise.resolve();
  #closed = false;

  /** @param idleMs an export without a call for so long is dropped */
  constructor(store: Store, log: Logger, idleMs: number = IDLE_MS) {
    this.#rows = openExportRows(store);
    this.#log = log;
    this.#idleMs = idleMs;
    for (const { value } of this.#rows.exports.getRange()) this.#keepOpen(value);
    this.#removeUnpinned();
  }

  /** Exports that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Pins the library as it is; an export that is open stays as it is. @throws ArrwError RESOURCE_EXHAUSTED */
  async open(exportId: string, nowMs: number): Promise<ExportRow> {
    const { store, exports } = this.#rows;
    const open = this.#open.get(exportId);
    if (open) return this.#used(open).row;
    try {
      return await durably(store.env, () => {
        const there = this.#open.get(exportId);
        if (there) return this.#used(there).row;
        if (this.#open.size >= MAX_EXPORTS) throw tooMany();
        const row = this.#pinned(exportId, nowMs);
        exports.put(exportId, row);
        this.#keepOpen(row);
        return row;
      });
    } catch (error) {
      // It is not known to be on the disk.
      this.#forget(exportId);
      throw error;
    }
  }

  /** By id; empty = there are no more. @throws EXPORT_NOT_FOUND */
  async read(request: ExportPageRequest): Promise<Document[]> {
    const open = this.#find(request);
    this.#used(open);
    const letGo = Buffer.from(request.letGo);
    if (Buffer.compare(letGo, open.letGo) > 0) await this.#letGo(open, request.letGo);
    const set = request.includeVectors ? await this.#vectorsOf(open) : undefined;
    return readPage(this.#rows, open.row, request.after, set, () => {
      const { row } = this.#find(request);
      if (set !== undefined && this.#vectorSet(row) === undefined) throw vectorsGone(request.exportId);
    });
  }

  /** Fine when there is none. @param only the pin that is meant; another one stays. Default: any */
  async close(exportId: string, only?: number): Promise<void> {
    const { store, exports } = this.#rows;
    const pin = this.#open.get(exportId)?.row.pin;
    if (pin === undefined || (only !== undefined && only !== pin)) return;
    await durably(store.env, () => {
      if (this.#open.get(exportId)?.row.pin !== pin) return;
      exports.remove(exportId);
      this.#forget(exportId);
    });
    this.#remove(pin);
  }

  /** Inside the transaction that replaces or removes a document, before it does. */
  keep(documentId: string, row: DocumentRow): void {
    if (this.#open.size === 0) return;
    const { store, images } = this.#rows;
    const id = Buffer.from(documentId);
    for (const { row: pinned, letGo } of this.#open.values()) {
      if (row.firstKey >= pinned.nextKey || Buffer.compare(id, letGo) <= 0) continue;
      images.put(imageKey(pinned.pin, id), imageOf(store, row, this.#vectorSet(pinned)));
    }
  }

  /** Resolves when nothing is under way; the exports go on when the library is opened again. */
  async stop(): Promise<void> {
    this.#closed = true;
    for (const exportId of [...this.#open.keys()]) this.#forget(exportId);
    await this.#removing;
  }

  #pinned(exportId: string, nowMs: number): ExportRow {
    const { store, exports } = this.#rows;
    const { nextKey, documents, chunks } = readState(store);
    const { generation, embedding, vectors } = liveGeneration(store);
    const pins = [...exports.getRange()].map(({ value }) => value.pin);
    const pin = Math.max(nowMs, ...pins.map((each) => each + 1));
    return {
      exportId,
      pin,
      nextKey,
      letGo: "",
      documents,
      chunks,
      generation,
      embedding,
      vectors,
      atMs: nowMs,
    };
  }

  #find({ exportId, pin, after }: ExportPageRequest): OpenExport {
    const open = this.#open.get(exportId);
    if (!open) throw gone(exportId, "it is not open, or was dropped");
    if (open.row.pin !== pin) throw gone(exportId, "it was pinned anew");
    if (Buffer.compare(Buffer.from(after), open.letGo) < 0)
      throw gone(exportId, "it has let go of what is asked for");
    return open;
  }

  /** A set that no generation has any more may be filled by another one: what the export's own one says counts. */
  #vectorSet({ generation, vectors }: ExportRow): string | undefined {
    return this.#rows.store.generations.get(generation)?.vectors === vectors ? vectors : undefined;
  }

  /**
   * Where the live generation has the same vectors, the export is that one's from now on: it outlives the pinned one.
   * @throws EXPORT_NOT_FOUND when the generation was given up meanwhile
   */
  async #vectorsOf(open: OpenExport): Promise<string> {
    const { store, exports } = this.#rows;
    const { exportId, vectors } = open.row;
    if (this.#vectorSet(open.row) === undefined) throw vectorsGone(exportId);
    if (!this.#heir(open)) return vectors;
    await store.env.childTransaction(() => {
      const generation = this.#heir(open);
      if (!generation || this.#open.get(exportId) !== open) return;
      open.row = { ...open.row, generation };
      exports.put(exportId, open.row);
    });
    return vectors;
  }

  /** The live generation, if it is another than the export's and has the same vectors. */
  #heir({ row }: OpenExport): number | undefined {
    const { generation, vectors } = liveGeneration(this.#rows.store);
    if (generation === row.generation || vectors !== row.vectors) return undefined;
    return this.#vectorSet(row) === undefined ? undefined : generation;
  }

  #used(open: OpenExport): OpenExport {
    open.idle.refresh();
    return open;
  }

  #keepOpen(row: ExportRow): void {
    const idle = setTimeout(() => {
      this.#log.warn({ export: row.exportId }, "an export without a call for 2 minutes is dropped");
      this.close(row.exportId).catch((error: unknown) =>
        this.#log.warn({ err: error, export: row.exportId }, "an export could not be dropped"),
      );
    }, this.#idleMs);
    idle.unref();
    this.#open.set(row.exportId, { row, letGo: Buffer.from(row.letGo), idle });
  }

  #forget(exportId: string): void {
    clearTimeout(this.#open.get(exportId)?.idle);
    this.#open.delete(exportId);
  }

  /** Not waited for on the disk: after a crash the export only keeps more than it needs. */
  async #letGo(open: OpenExport, letGo: string): Promise<void> {
    const { store, exports, images } = this.#rows;
    const { exportId, pin } = open.row;
    await store.env.childTransaction(() => {
      if (this.#open.get(exportId) !== open || Buffer.compare(Buffer.from(letGo), open.letGo) <= 0) return;
      const range = { start: imageKey(pin, open.letGo), end: imageKey(pin, letGo) };
      const passed = [...images.getKeys(range), imageKey(pin, letGo)];
      for (const key of passed) images.remove(key);
      open.row = { ...open.row, letGo };
      open.letGo = Buffer.from(letGo);
      exports.put(exportId, open.row);
    });
  }

  /** Images of pins that are gone: of a crash while they were removed. */
  #removeUnpinned(): void {
    const { images } = this.#rows;
    const pins = new Set([...this.#open.values()].map(({ row }) => row.pin));
    let start: Buffer = Buffer.alloc(0);
    for (;;) {
      const [key] = [...images.getKeys({ start, limit: 1 })];
      if (!key) return;
      const pin = pinOfImage(key);
      if (!pins.has(pin)) this.#remove(pin);
      start = imageKey(pin + 1, "");
    }
  }

  /** Image by image in the background: a transaction of a whole library would hold up its writers. */
  #remove(pin: number): void {
    this.#removing = this.#removing
      .then(() => this.#removeImages(pin))
      .catch((error: unknown) =>
        this.#log.warn({ err: error }, "an export's documents could not be removed"),
      );
  }

  async #removeImages(pin: number): Promise<void> {
    const { store, images } = this.#rows;
    const range = { start: imageKey(pin, ""), end: imageKey(pin + 1, ""), limit: REMOVED_AT_ONCE };
    while (!this.#closed) {
      const keys = [...images.getKeys(range)];
      if (keys.length === 0) return;
      await store.env.childTransaction(() => {
        for (const key of keys) images.remove(key);
      });
    }
  }
}

function gone(exportId: string, why: string): ArrwError {
  const text = `export ${JSON.stringify(exportId)} can't go on: ${why}`;
  return new ArrwError("NOT_FOUND", text, { reason: "EXPORT_NOT_FOUND" });
}

function vectorsGone(exportId: string): ArrwError {
  return gone(exportId, "the vectors of its generation are no longer kept");
}

function tooMany(): ArrwError {
  return new ArrwError("RESOURCE_EXHAUSTED", `the library has ${MAX_EXPORTS} exports already`, {
    reason: "TOO_MANY_EXPORTS",
  });
}
