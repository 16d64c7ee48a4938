import { join } from "node:path";
import { notFound } from "../../platform/errors.ts";
import type { Logger } from "../../platform/log.ts";
import type { Document, Filter } from "../../proto/gen/arrwdb/v1/document.ts";
import type { Hit, Library as LibraryMessage } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { BuildHost } from "./build-host.ts";
import type { LibraryRow } from "./catalog.ts";
import { ChangeLog } from "./change-log.ts";
import { type DocumentPage, DocumentReader } from "./document-reader.ts";
import { DocumentScan } from "./document-scan.ts";
import { lookUpEmbeddings } from "./embeddings.ts";
import { EventLog } from "./event-log.ts";
import { Exports } from "./exports.ts";
import { Generation, type OwnThread } from "./generation.ts";
import { prepareFiles } from "./generation-files.ts";
import { ensureGeneration, liveGeneration } from "./generations.ts";
import { LibraryBuilds } from "./library-builds.ts";
import { libraryMessage } from "./library-message.ts";
import type { LibrarySearch } from "./library-search.ts";
import { type DocumentWrite, type FenceClaim, LibraryWriter } from "./library-writer.ts";
import { type GenerationRow, openStore, readState, type StateRow, type Store } from "./store.ts";
import type { VectorPool } from "./vector-pool.ts";

export interface LibraryOptions {
  readonly row: LibraryRow;
  /** The library's own folder. */
  readonly folder: string;
  readonly pool: VectorPool;
  readonly log: Logger;
  readonly snapshotChanges: number;
  /** Events kept for those who watch. */
  readonly watchEvents: number;
  readonly builds: Pick<
    BuildHost,
    "memory" | "retentionMs" | "keepAliveMs" | "markUnsettled" | "onBuildEnded"
  >;
  /** Something was committed; maybe a change. */
  readonly onCommit: () => void;
}

/** One open library: its documents, and the generation that is live. */
export class Library {
  readonly row: LibraryRow;
  readonly #options: LibraryOptions;
  readonly #store: Store;
  readonly #events: EventLog;
  readonly #exports: Exports;
  readonly #writer: LibraryWriter;
  readonly #reader: DocumentReader;
  readonly #scan: DocumentScan;
  readonly #changeLog: ChangeLog;
  readonly builds: LibraryBuilds;
  #live: Generation;
  /** A swap that is being committed. */
  #routing: Promise<void> | undefined;
  #prepared: Promise<void> | undefined;
  #deleted = false;

  constructor(options: LibraryOptions) {
    this.row = options.row;
    this.#options = options;
    this.#store = openStore(join(options.folder, "store"));
    ensureGeneration(this.#store, options.row);
    this.#scan = new DocumentScan(this.#store);
    this.#changeLog = new ChangeLog(this.#store);
    this.#events = new EventLog(this.#store, options.watchEvents);
    this.#store.env.on("aftercommit", options.onCommit);
    this.#exports = new Exports(this.#store, options.log);
    this.#writer = new LibraryWriter(this.#store, this.#events, this.#exports);
    this.#reader = new DocumentReader(this.#store);
    this.#live = this.#newGeneration(liveGeneration(this.#store));
    this.builds = new LibraryBuilds({
      ...options.builds,
      store: this.#store,
      writer: this.#writer,
      log: options.log,
      folder: join(options.folder, "index"),
      live: () => this.#live,
      newGeneration: (row, own) => this.#newGeneration(row, own),
      route: (commit) => this.#route(commit),
    });
  }

  /** The generation that answers; a swap that is being committed is waited for. */
  async live(): Promise<Generation> {
    while (this.#routing) await this.#routing;
    return this.#live;
  }

  /** Memory of its indexes, bytes. */
  get memoryBytes(): number {
    return (this.#live.index?.progress.indexBytes ?? 0) + this.builds.memoryBytes;
  }

  /** It has to stay open: for a build, or for an export, whose time runs only while it is. */
  get busy(): boolean {
    return this.builds.busy || this.#exports.size > 0;
  }

  /** One of its indexes has a thread of its own. */
  get ownsThread(): boolean {
    return this.#live.ownsThread || this.builds.ownsThread;
  }

  get state(): StateRow {
    return readState(this.#store);
  }

  /** Stored vectors that the index has yet to get; 0 while it isn't open. */
  get behind(): number {
    return this.#live.index?.behind ?? 0;
  }

  /** Live vectors in the index; 0 while it isn't open. */
  get vectors(): number {
    return this.#live.index?.progress.size ?? 0;
  }

  /**
   * @param generation the live one, which the documents' vectors were checked for
   * @returns the change's number; undefined = another one is live by now
   * @throws EMBEDDING_CHANGED, LEASE_FENCED, LIBRARY_NOT_FOUND
   */
  async upsert(
    fence: FenceClaim | undefined,
    generation: Generation,
    documents: readonly DocumentWrite[],
    signal: AbortSignal,
  ): Promise<number | undefined> {
    this.#assertThere();
    await this.builds.admit(documents, signal);
    if (generation !== (await this.live())) return undefined;
    const index = generation.index ?? (await generation.open());
    this.#assertThere();
    await index.room(
      documents.reduce((sum, { texts }) => sum + texts.length, 0),
      signal,
    );
    this.#assertThere();
    try {
      return await this.#writer.upsert(fence, generation.row, documents);
    } finally {
      this.#changed();
    }
  }

  /** @returns ids that were not there @throws LEASE_FENCED, LIBRARY_NOT_FOUND */
  async delete(fence: FenceClaim | undefined, ids: readonly string[]): Promise<string[]> {
    this.#assertThere();
    try {
      return await this.#writer.delete(fence, ids);
    } finally {
      this.#changed();
    }
  }

  /** @param generation the live one: answers all of the search @throws LIBRARY_NOT_FOUND */
  async search(generation: Generation, search: LibrarySearch): Promise<Hit[]> {
    this.#assertThere();
    const hits = await generation.search(search);
    this.#assertThere();
    return hits;
  }

  /** Packed vectors that texts have already in an embedding, by place in `hashes`. @throws LIBRARY_NOT_FOUND */
  embeddings(embeddingId: string, hashes: readonly Buffer[], maxBytes: number): Map<number, Buffer> {
    this.#assertThere();
    return lookUpEmbeddings(this.#store, embeddingId, hashes, { maxBytes });
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

  /** Which of the ids are there, by their places, and the title of each. @throws LIBRARY_NOT_FOUND */
  located(documentIds: readonly string[]): { places: number[]; titles: string[] } {
    this.#assertThere();
    return this.#reader.located(documentIds);
  }

  /** The place of the first of the ids that is there; -1 = none is. @throws LIBRARY_NOT_FOUND */
  firstOf(documentIds: readonly string[]): number {
    this.#assertThere();
    return documentIds.findIndex((id) => this.#reader.has(id));
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

  get exports(): Exports {
    this.#assertThere();
    return this.#exports;
  }

  get events(): EventLog {
    this.#assertThere();
    return this.#events;
  }

  message(): Promise<LibraryMessage> {
    const { builds, row } = this;
    return libraryMessage(row, this.#store, this.#live, builds.building, this.#options.folder);
  }

  /** Opens the index beside, so that it is ready when it is needed. */
  warm(): void {
    this.#live
      .open()
      .catch((error: unknown) => this.#options.log.error({ err: error }, "the index can't be opened"));
  }

  /** From here on calls end with LIBRARY_NOT_FOUND, those that wait too. */
  markDeleted(): void {
    this.#deleted = true;
    this.interrupt();
  }

  /** Ends long work, and lets waiting writers go: it is about to be closed. */
  interrupt(): void {
    this.#live.abandon();
    this.builds.abandon();
  }

  /**
   * Only when nothing uses it any more.
   * @param save take the time for a last snapshot of a small index
   */
  async close(save: boolean): Promise<void> {
    await this.builds.close(save && !this.#deleted);
    await this.#live.close(save && !this.#deleted);
    await this.#prepared?.catch(() => undefined);
    await this.#exports.stop();
    await this.#store.env.close();
  }

  #changed(): void {
    this.#live.index?.changed();
    this.builds.changed();
  }

  async #route(commit: () => Promise<Generation | undefined>): Promise<void> {
    let routed = (): void => undefined;
    this.#routing = new Promise((resolve) => {
      routed = resolve;
    });
    try {
      const next = await commit();
      if (next) this.#live = next;
    } finally {
      this.#routing = undefined;
      routed();
    }
  }

  #newGeneration(row: GenerationRow, own?: OwnThread): Generation {
    const { folder, pool, log, snapshotChanges } = this.#options;
    const options = {
      store: this.#store,
      folder,
      scan: this.#scan,
      changeLog: this.#changeLog,
      pool,
      log,
      snapshotChanges,
      prepared: () => this.#prepare(),
    };
    return new Generation(row, options, own);
  }

  #prepare(): Promise<void> {
    this.#prepared ??= prepareFiles(this.#store, join(this.#options.folder, "index"));
    return this.#prepared;
  }

  #assertThere(): void {
    if (this.#deleted) throw notFound("library", this.row.id);
  }
}
