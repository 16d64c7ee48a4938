import { stat } from "node:fs/promises";
import { join } from "node:path";
import { ArrwError, notFound } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Document, Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import type { Hit, Library as LibraryMessage } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { LibraryRow } from "./catalog.ts";
import { type DocumentPage, DocumentReader } from "./document-reader.ts";
import { DocumentScan } from "./document-scan.ts";
import { EventLog } from "./event-log.ts";
import { LibraryIndex } from "./library-index.ts";
import { type LibrarySearch, LibrarySearcher } from "./library-search.ts";
import { type DocumentWrite, type FenceClaim, LibraryWriter } from "./library-writer.ts";
import { openStore, readSnapshot, readState, type StateRow, type Store } from "./store.ts";
import type { VectorPool } from "./vector-pool.ts";
import type { LibrarySpec } from "./vector-protocol.ts";

export interface LibraryOptions {
  readonly row: LibraryRow;
  /** The library's own folder. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  readonly snapshotChanges: number;
  /** Events kept for those who watch. */
  readonly watchEvents: number;
  /** Something was committed; maybe a change. */
  readonly onCommit: () => void;
}

/** Vectors that may be stored and not indexed yet, and the bytes they may be, before writers wait. */
const MAX_BEHIND = 4_096;
const MAX_BEHIND_BYTES = 64 * 1024 * 1024;
/** An index up to this size is saved by the thread that serves it: about 50 ms. */
const OWN_SAVE_BYTES = 64 * 1024 * 1024;

/** One open library. Its index is opened when it is first needed. */
export class Library {
  readonly row: LibraryRow;
  readonly #options: LibraryOptions;
  readonly #store: Store;
  readonly #events: EventLog;
  readonly #writer: LibraryWriter;
  readonly #reader: DocumentReader;
  readonly #searcher: LibrarySearcher;
  #opening: Promise<LibraryIndex> | undefined;
  #index: LibraryIndex | undefined;
  #deleted = false;

  constructor(options: LibraryOptions) {
    this.row = options.row;
    this.#options = options;
    this.#store = openStore(join(options.folder, "store"));
    const { dimensions } = options.row.embedding;
    const scan = new DocumentScan(this.#store);
    this.#events = new EventLog(this.#store, options.watchEvents);
    this.#store.env.on("aftercommit", options.onCommit);
    this.#writer = new LibraryWriter(this.#store, dimensions, this.#events);
    this.#reader = new DocumentReader(this.#store);
    this.#searcher = new LibrarySearcher(this.#store, options.row.metric, scan);
  }

  get state(): StateRow {
    return readState(this.#store);
  }

  /** Stored vectors that the index has yet to get; 0 while it isn't open. */
  get behind(): number {
    return this.#index?.behind ?? 0;
  }

  /** Live vectors in the index; 0 while it isn't open. */
  get vectors(): number {
    return this.#index?.progress.size ?? 0;
  }

  /** @returns the change's number @throws EMBEDDING_CHANGED, LEASE_FENCED, LIBRARY_NOT_FOUND */
  async upsert(
    fence: FenceClaim | undefined,
    embeddingId: string,
    documents: readonly DocumentWrite[],
    signal: AbortSignal,
  ): Promise<number> {
    this.#assertEmbedding(embeddingId);
    const index = await this.#usableIndex();
    await index.room(
      documents.reduce((sum, { texts }) => sum + texts.length, 0),
      signal,
    );
    this.#assertThere();
    try {
      return await this.#writer.upsert(fence, documents);
    } finally {
      index.changed();
    }
  }

  /** @returns ids that were not there @throws LEASE_FENCED, LIBRARY_NOT_FOUND */
  async delete(fence: FenceClaim | undefined, ids: readonly string[]): Promise<string[]> {
    this.#assertThere();
    try {
      return await this.#writer.delete(fence, ids);
    } finally {
      this.#index?.changed();
    }
  }

  /** @throws EMBEDDING_CHANGED, LIBRARY_NOT_FOUND */
  async search(
    embeddingId: string,
    search: Omit<LibrarySearch, "ef"> & { readonly ef: number },
  ): Promise<Hit[]> {
    this.#assertEmbedding(embeddingId);
    const index = await this.#usableIndex();
    const ef = search.ef === 0 ? this.row.expansionSearch : search.ef;
    const hits = await this.#searcher.search(index, { ...search, ef: Math.max(search.k, ef) });
    this.#assertThere();
    return hits;
  }

  async beginLease(claim: FenceClaim, nowMs: number): Promise<void> {
    this.#assertThere();
    await this.#writer.begin(claim, nowMs);
  }

  async endLease(claim: FenceClaim, nowMs: number): Promise<void> {
    if (this.#deleted) return;
    await this.#writer.end(claim, nowMs);
  }

  /** @throws DOCUMENT_NOT_FOUND */
  document(documentId: string, includeVectors: boolean): Document {
    this.#assertThere();
    return this.#reader.get(documentId, includeVectors);
  }

  documents(
    filter: Filter | undefined,
    after: string,
    pageSize: number,
    includeTexts: boolean,
  ): DocumentPage {
    this.#assertThere();
    return this.#reader.list(filter, after, pageSize, includeTexts);
  }

  get events(): EventLog {
    this.#assertThere();
    return this.#events;
  }

  async message(): Promise<LibraryMessage> {
    const { row } = this;
    const { documents, chunks, generation } = this.state;
    const progress = this.#index?.progress;
    const saved = readSnapshot(this.#store);
    const stored = row.indexType === "flat" ? chunks : (saved?.size ?? 0);
    return {
      libraryId: row.id,
      name: row.name,
      embedding: { ...row.embedding },
      indexType: row.indexType,
      indexConfig: {
        metric: row.metric,
        scalar: row.scalar,
        connectivity: row.connectivity,
        expansionAdd: row.expansionAdd,
        expansionSearch: row.expansionSearch,
      },
      generation: BigInt(generation),
      documentCount: BigInt(documents),
      chunkCount: BigInt(chunks),
      vectorCount: BigInt(progress?.size ?? stored),
      tombstoneCount: BigInt(progress?.tombstones ?? saved?.tombstones ?? 0),
      diskBytes: BigInt((await storedBytes(this.#options.folder)) + (saved?.bytes ?? 0)),
      memoryBytes: BigInt(progress ? progress.indexBytes + progress.blockBytes : 0),
      createdAt: new Date(row.createdAtMs),
      previousGeneration: 0n,
      previousGenerationExpiresAt: undefined,
      buildingGeneration: 0n,
    };
  }

  /** Opens the index beside, so that it is ready when it is needed. */
  warm(): void {
    this.#openIndex().catch((error: unknown) =>
      this.#options.log.error({ err: error }, "the index can't be opened"),
    );
  }

  /** From here on calls end with LIBRARY_NOT_FOUND, those that wait too. */
  markDeleted(): void {
    this.#deleted = true;
    this.#index?.abandon();
  }

  /**
   * Only when nothing uses it any more.
   * @param save take the time for a last snapshot of a small index
   */
  async close(save: boolean): Promise<void> {
    const index = await this.#opening?.catch(() => undefined);
    await index?.close(save && !this.#deleted);
    await this.#store.env.close();
  }

  /** Everybody waits for the same opening; after a failed one the next call tries again. */
  #openIndex(): Promise<LibraryIndex> {
    this.#opening ??= this.#open().then(
      (index) => {
        this.#index = index;
        if (this.#deleted) index.abandon();
        return index;
      },
      (error: unknown) => {
        this.#opening = undefined;
        throw error;
      },
    );
    return this.#opening;
  }

  #open(): Promise<LibraryIndex> {
    const { row, folder, pool, log, snapshotChanges } = this.#options;
    const { embedding, metric, scalar, connectivity, expansionAdd, expansionSearch } = row;
    const { dimensions } = embedding;
    const spec: LibrarySpec = {
      library: row.number,
      storeFolder: join(folder, "store"),
      indexType: row.indexType,
      parameters: { dimensions, metric, scalar, connectivity, expansionAdd, expansionSearch },
    };
    const byBytes = Math.floor(MAX_BEHIND_BYTES / (dimensions * 4));
    return LibraryIndex.open({
      store: this.#store,
      spec,
      folder: join(folder, "index"),
      pool,
      log,
      snapshotChanges,
      maxBehind: Math.min(MAX_BEHIND, byBytes),
      ownSaveBytes: OWN_SAVE_BYTES,
    });
  }

  async #usableIndex(): Promise<LibraryIndex> {
    this.#assertThere();
    const index = this.#index ?? (await this.#openIndex());
    this.#assertThere();
    return index;
  }

  #assertThere(): void {
    if (this.#deleted) throw notFound("library", this.row.id);
  }

  #assertEmbedding(embeddingId: string): void {
    const current = this.row.embeddingId;
    if (embeddingId === current) return;
    throw new ArrwError(
      "ABORTED",
      `the library's embedding is ${current}, not ${JSON.stringify(embeddingId.slice(0, 64))}`,
      {
        reason: "EMBEDDING_CHANGED",
        metadata: { embedding_id: current },
      },
    );
  }
}

async function storedBytes(folder: string): Promise<number> {
  const { blocks } = await stat(join(folder, "store", "data.mdb"));
  return blocks * 512;
}
