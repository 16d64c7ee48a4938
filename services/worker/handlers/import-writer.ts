import { encode } from "../../../platform/encode.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { unary, unaryBytes } from "../../../platform/grpc/client.ts";
import {
  type DocumentUpsert,
  type IndexServiceClient,
  IndexServiceService,
  UpsertDocumentsRequest,
} from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { whileUnavailable } from "../retry.ts";
import type { FailedDocument } from "./import-batches.ts";
import type { EmbeddedBatch, ImportEmbedder, ReadyDocument } from "./import-embedder.ts";
import { LastCall } from "./last-call.ts";

export interface ImportWriterOptions {
  readonly index: IndexServiceClient;
  readonly embedder: ImportEmbedder;
  readonly libraryId: string;
  readonly jobId: string;
  readonly lease: bigint;
  /** Aborted when the attempt has to end. */
  readonly signal: AbortSignal;
}

/** What the index has acknowledged of a batch. */
export interface Written {
  readonly imported: readonly ReadyDocument[];
  readonly chunks: number;
  readonly failed: readonly FailedDocument[];
}

const CALL_TIMEOUT_MS = 15_000;
/** The index may be restarting. */
const WRITE_FOR_MS = 20_000;
const MAX_EMBEDDING_CHANGES = 10;

/** Upserts batches under the job's fence. */
export class ImportWriter {
  readonly #options: ImportWriterOptions;
  readonly #lastCall: LastCall;

  constructor(options: ImportWriterOptions) {
    this.#options = options;
    this.#lastCall = new LastCall(options.signal);
  }

  close(): void {
    this.#lastCall.close();
  }

  /** @throws ArrwError; a document that the index refuses is among the failed ones instead */
  async write(batch: EmbeddedBatch): Promise<Written> {
    const { embedder, signal } = this.#options;
    let current = batch;
    for (let changes = 0; ; changes++) {
      if (current.embeddingId !== embedder.embeddingId) current = await embedder.embed(batch.source, signal);
      try {
        return await this.#writeAll(current);
      } catch (error) {
        if (!isEmbeddingChanged(error) || changes === MAX_EMBEDDING_CHANGES) throw error;
        await this.#fetchEmbedding();
      }
    }
  }

  async #writeAll({ ready, embeddingId, failed }: EmbeddedBatch): Promise<Written> {
    const refused = ready.length === 0 ? [] : await this.#upsert(ready, embeddingId);
    const ordinals = new Set(refused.map(({ ordinal }) => ordinal));
    const written = ready.filter(({ ordinal }) => !ordinals.has(ordinal));
    const chunks = written.reduce((sum, each) => sum + chunksOf(each), 0);
    return { imported: written, chunks, failed: [...failed, ...refused] };
  }

  /** Writes all, or by halves when the index refuses the request: so the bad document is found, and fails alone. */
  async #upsert(ready: readonly ReadyDocument[], embeddingId: string): Promise<FailedDocument[]> {
    try {
      await this.#call(
        ready.map(({ upsert }) => upsert),
        embeddingId,
      );
      return [];
    } catch (error) {
      if (!(error instanceof ArrwError) || error.code !== "INVALID_ARGUMENT") throw error;
      const [first] = ready;
      if (ready.length === 1 && first) {
        const { documentId = "", title = "" } = first.upsert.document ?? {};
        const bad = { code: "DOCUMENT_REFUSED", reason: error.message } as const;
        return [{ ordinal: first.ordinal, documentId, title, ...bad }];
      }
      const middle = Math.ceil(ready.length / 2);
      const left = await this.#upsert(ready.slice(0, middle), embeddingId);
      return left.concat(await this.#upsert(ready.slice(middle), embeddingId));
    }
  }

  async #call(documents: DocumentUpsert[], embeddingId: string): Promise<void> {
    const { index, libraryId, jobId, lease, signal } = this.#options;
    const { path } = IndexServiceService.upsertDocuments;
    // Encoded here: grpc-js would grow a buffer from nothing to the batch's size, and copy it once more.
    const fence = { jobId, lease };
    const request = encode(UpsertDocumentsRequest, { libraryId, fence, embeddingId, documents });
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal: this.#lastCall.signal };
    await whileUnavailable(() => unaryBytes(index, path, request, call), {
      forMs: WRITE_FOR_MS,
      signal,
    });
  }

  async #fetchEmbedding(): Promise<void> {
    const { index, libraryId, embedder, signal } = this.#options;
    const call = { timeoutMs: CALL_TIMEOUT_MS, signal };
    const { library, embeddingId } = await whileUnavailable(
      () => unary(index, index.getLibrary, { visibleLibraries: [], libraryId }, call),
      { forMs: WRITE_FOR_MS, signal },
    );
    if (library) embedder.use({ library, embeddingId });
  }
}

export function chunksOf({ upsert }: ReadyDocument): number {
  return upsert.document?.texts.length ?? 0;
}

function isEmbeddingChanged(error: unknown): boolean {
  return error instanceof ArrwError && error.reason === "EMBEDDING_CHANGED";
}
