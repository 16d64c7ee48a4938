import { ArrwError, notFound } from "../../platform/errors.ts";
import { isDocumentId } from "./document-scan.ts";
import { beginLease, endLease, type FenceRow, isForgotten, refuseMutation } from "./domain/fence.ts";
import { forgetText, hasTexts, remembersTexts, rememberText } from "./embeddings.ts";
import type { EventLog, GenerationEvent } from "./event-log.ts";
import type { Exports } from "./exports.ts";
import { vectorSetsInUse } from "./generations.ts";
import {
  type DocumentRow,
  durably,
  type EventRow,
  type GenerationRow,
  type KeyRange,
  readState,
  type Store,
  type StoredFence,
  writeState,
} from "./store.ts";

/** The mutations of a library, each one transaction with its fence check, its change record and the new state. */

export interface FenceClaim {
  readonly jobId: string;
  readonly lease: bigint;
}

/** One document with the packed vectors of its chunks. */
export interface DocumentWrite {
  readonly documentId: string;
  readonly title: string;
  readonly author: string;
  readonly tags: readonly string[];
  readonly sourceUrl: string;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  readonly texts: readonly string[];
  /** texts x dimensions little-endian float32. */
  readonly vectors: Buffer;
}

/** Closed fences are swept this often, when one more is closed. */
const SWEEP_EVERY_MS = 60 * 60 * 1000;

export class LibraryWriter {
  readonly #store: Store;
  readonly #events: EventLog;
  readonly #exports: Pick<Exports, "keep">;
  #sweptAtMs = 0;

  constructor(store: Store, events: EventLog, exports: Pick<Exports, "keep">) {
    this.#store = store;
    this.#events = events;
    this.#exports = exports;
  }

  /**
   * Replaces documents whole.
   * @param generation the one that their vectors were checked for
   * @returns the change's number; undefined = another one is live by now, and nothing was written
   * @throws LEASE_FENCED
   */
  upsert(
    fence: FenceClaim | undefined,
    generation: GenerationRow,
    documents: readonly DocumentWrite[],
  ): Promise<number | undefined> {
    // Of two with one id the last wins.
    const byId = new Map(documents.map((document) => [document.documentId, document]));
    return durably(this.#store.env, () => {
      this.assertFence(fence);
      const removed: KeyRange[] = [];
      const { nextKey, generation: live } = readState(this.#store);
      if (live !== generation.generation) return undefined;
      const remove = this.#remover();
      let key = nextKey;
      let added = 0;
      for (const document of byId.values()) {
        const previous = remove(document.documentId);
        if (previous) removed.push(previous);
        else added += 1;
        this.#putDocument(document, key, generation);
        key += document.texts.length;
      }
      return this.#record([nextKey, key - nextKey], removed, added, { upserted: [...byId.keys()] });
    });
  }

  /** @returns ids that were not there @throws LEASE_FENCED */
  delete(fence: FenceClaim | undefined, ids: readonly string[]): Promise<string[]> {
    return durably(this.#store.env, () => {
      this.assertFence(fence);
      const missing: string[] = [];
      const removed: KeyRange[] = [];
      const deleted: string[] = [];
      const seen = new Set<string>();
      const remove = this.#remover();
      for (const id of ids) {
        if (seen.has(id)) continue;
        seen.add(id);
        const range = isDocumentId(id) ? remove(id) : undefined;
        if (!range) missing.push(id);
        else {
          removed.push(range);
          deleted.push(id);
          this.#store.documents.remove(Buffer.from(id));
        }
      }
      const { nextKey } = readState(this.#store);
      if (deleted.length > 0) this.#record([nextKey, 0], removed, -deleted.length, { deleted });
      return missing;
    });
  }

  /** Inside the transaction of a swap: `generation` is the live one from here on. @returns the change's number */
  recordGeneration(generationEvent: GenerationEvent, generation: number): number {
    const state = readState(this.#store);
    writeState(this.#store, { ...state, generation });
    return this.#record([state.nextKey, 0], [], 0, { generationEvent });
  }

  /** @throws LEASE_FENCED */
  async begin({ jobId, lease }: FenceClaim, nowMs: number): Promise<void> {
    await durably(this.#store.env, () => {
      const decision = beginLease(this.#fence(jobId), lease, nowMs);
      if (decision.refused) throw fenced(jobId, lease, decision.refused);
      this.#putFence(jobId, decision.row);
    });
  }

  async end({ jobId, lease }: FenceClaim, nowMs: number): Promise<void> {
    await durably(this.#store.env, () => {
      const row = endLease(this.#fence(jobId), lease, nowMs);
      if (row) this.#putFence(jobId, row);
      this.#sweep(nowMs);
    });
  }

  /** Whether any lease of the job may still change the library. */
  isActive(jobId: string): boolean {
    return this.#fence(jobId)?.open === true;
  }

  /** Whether the lease may still change the library. */
  holds({ jobId, lease }: FenceClaim): boolean {
    return refuseMutation(this.#fence(jobId), lease) === undefined;
  }

  /** @throws LEASE_FENCED */
  assertFence(claim: FenceClaim | undefined): void {
    if (!claim) return;
    const refused = refuseMutation(this.#fence(claim.jobId), claim.lease);
    if (refused) throw fenced(claim.jobId, claim.lease, refused);
  }

  #fence(jobId: string): FenceRow | undefined {
    const row = this.#store.fences.get(Buffer.from(jobId));
    return row && { ...row, lease: BigInt(row.lease) };
  }

  #putFence(jobId: string, row: FenceRow): void {
    const stored: StoredFence = { ...row, lease: row.lease.toString() };
    this.#store.fences.put(Buffer.from(jobId), stored);
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptAtMs < SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    const forgotten = [...this.#store.fences.getRange()]
      .filter(({ value }) => isForgotten({ ...value, lease: BigInt(value.lease) }, nowMs))
      .map(({ key }) => key);
    for (const key of forgotten) this.#store.fences.remove(key);
  }

  /** Takes a document's chunks and vectors out, those of every generation; its own row stays. */
  #remover(): (id: string) => KeyRange | undefined {
    const sets = [...vectorSetsInUse(this.#store)].map((name) => this.#store.vectors(name));
    const remembered = hasTexts(this.#store);
    return (id) => {
      const row = this.#store.documents.get(Buffer.from(id));
      if (!row) return undefined;
      this.#exports.keep(id, row);
      for (let key = row.firstKey; key < row.firstKey + row.chunks; key++) {
        if (remembered) forgetText(this.#store, key);
        this.#store.chunks.remove(key);
        for (const set of sets) set.remove(key);
      }
      return [row.firstKey, row.chunks];
    };
  }

  #putDocument(document: DocumentWrite, firstKey: number, generation: GenerationRow): void {
    const { documentId, texts, vectors, title, author, tags, sourceUrl, metadata } = document;
    const bytes = generation.embedding.dimensions * 4;
    const set = this.#store.vectors(generation.vectors);
    const remembers = remembersTexts(generation);
    texts.forEach((text, n) => {
      this.#store.chunks.put(firstKey + n, [documentId, n, text]);
      if (remembers) rememberText(this.#store, firstKey + n, text);
      set.put(firstKey + n, vectors.subarray(n * bytes, (n + 1) * bytes));
    });
    const row: DocumentRow = { title, author, tags, sourceUrl, metadata, firstKey, chunks: texts.length };
    this.#store.documents.put(Buffer.from(documentId), row);
  }

  /** @param documents those that are new, less those that are gone */
  #record(
    added: KeyRange,
    removed: readonly KeyRange[],
    documents: number,
    events: Partial<Pick<EventRow, "upserted" | "deleted" | "generationEvent">>,
  ): number {
    const state = readState(this.#store);
    const gone = removed.reduce((sum, [, count]) => sum + count, 0);
    const change = state.change + 1;
    const removedTotal = state.removedTotal + gone;
    this.#store.changes.put(change, { added, removed, removedTotal });
    const { generation } = state;
    this.#events.append(change, { atMs: Date.now(), generation, upserted: [], deleted: [], ...events });
    writeState(this.#store, {
      ...state,
      documents: state.documents + documents,
      chunks: state.chunks + added[1] - gone,
      nextKey: added[0] + added[1],
      change,
      removedTotal,
    });
    return change;
  }
}

function fenced(jobId: string, lease: bigint, why: string): ArrwError {
  const text =
    why === "not begun"
      ? `lease ${lease} of job ${jobId} was not begun`
      : why === "closed"
        ? `lease ${lease} of job ${jobId} has ended`
        : `job ${jobId} has a newer lease than ${lease}`;
  return new ArrwError("FAILED_PRECONDITION", text, { reason: "LEASE_FENCED" });
}

/** The row of a document. @throws DOCUMENT_NOT_FOUND */
export function documentRow(store: Store, id: string): DocumentRow {
  const row = store.documents.get(Buffer.from(id));
  if (!row) throw notFound("document", id);
  return row;
}
