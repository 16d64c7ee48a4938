import type { CreateProvider, EmbeddingProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { DocumentUpsert } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { BadDocument } from "../domain/document.ts";
import type { LeasedLibrary } from "../handler.ts";
import { whileUnavailable } from "../retry.ts";
import type { FailedDocument, ImportBatch, ImportDocument } from "./import-batches.ts";

/** A batch with its vectors, ready for the index. */
export interface EmbeddedBatch {
  readonly source: ImportBatch;
  /** Of the embedding that made the vectors. */
  readonly embeddingId: string;
  readonly ready: ReadyDocument[];
  /** Those of the source, and those whose vectors don't fit the library. */
  readonly failed: FailedDocument[];
}

export interface ReadyDocument {
  readonly ordinal: number;
  readonly upsert: DocumentUpsert;
}

/** Bounds one document's vectors, so that a request stays below the index's message limit. */
const MAX_VECTOR_BYTES = 32 * 1024 * 1024;
const EMBED_FOR_MS = 20_000;

/** Embeds the texts of batches with the library's provider; clients' own vectors are only checked. */
export class ImportEmbedder {
  readonly #createProvider: CreateProvider;
  #provider: EmbeddingProvider;
  #takesTexts: boolean;
  #embeddingId: string;

  constructor(createProvider: CreateProvider, library: LeasedLibrary) {
    this.#createProvider = createProvider;
    this.#embeddingId = library.embeddingId;
    this.#provider = createProvider(embeddingOf(library));
    this.#takesTexts = embeddingOf(library).provider !== "none";
  }

  get embeddingId(): string {
    return this.#embeddingId;
  }

  get dimensions(): number {
    return this.#provider.dimensions;
  }

  /** The library has another embedding now. */
  use(library: LeasedLibrary): void {
    this.#embeddingId = library.embeddingId;
    this.#provider = this.#createProvider(embeddingOf(library));
    this.#takesTexts = embeddingOf(library).provider !== "none";
  }

  async embed(source: ImportBatch, signal: AbortSignal): Promise<EmbeddedBatch> {
    const embeddingId = this.#embeddingId;
    const provider = this.#provider;
    const failed = [...source.failed];
    const good: ImportDocument[] = [];
    for (const each of source.documents) {
      const unfit = this.#unfit(each);
      const { documentId, title } = each.document;
      if (unfit) failed.push({ ordinal: each.ordinal, documentId, title, ...unfit });
      else good.push(each);
    }
    const texts = good.flatMap(({ document, vectors }) => (vectors ? [] : document.texts));
    const rows = await whileUnavailable(() => provider.embed(texts, signal), {
      forMs: EMBED_FOR_MS,
      signal,
    });
    return { source, embeddingId, ready: joinVectors(good, rows, provider.dimensions), failed };
  }

  /** Why the library can't take the document. */
  #unfit({ document, vectors }: ImportDocument): BadDocument | undefined {
    const { dimensions } = this.#provider;
    const count = document.texts.length;
    if (!vectors && !this.#takesTexts) {
      return { code: "INVALID_VECTORS", reason: "it has no vectors, and its library embeds no texts" };
    }
    if (vectors && vectors.length !== count * dimensions * 4) {
      const reason = `its vectors have ${vectors.length / count / 4} dimensions; the library has ${dimensions}`;
      return { code: "INVALID_VECTORS", reason };
    }
    const bytes = count * dimensions * 4;
    if (bytes <= MAX_VECTOR_BYTES) return undefined;
    const reason = `its ${count} chunks need ${bytes} bytes of vectors; at most ${MAX_VECTOR_BYTES}`;
    return { code: "DOCUMENT_TOO_LARGE", reason };
  }
}

function joinVectors(
  documents: readonly ImportDocument[],
  rows: Float32Array,
  dimensions: number,
): ReadyDocument[] {
  let offset = 0;
  return documents.map(({ ordinal, document, vectors }) => {
    if (vectors) {
      const given = Buffer.from(vectors.buffer, vectors.byteOffset, vectors.length);
      return { ordinal, upsert: { document, vectors: given } };
    }
    const bytes = document.texts.length * dimensions * 4;
    const own = Buffer.from(rows.buffer, rows.byteOffset + offset, bytes);
    offset += bytes;
    return { ordinal, upsert: { document, vectors: own } };
  });
}

function embeddingOf({ library }: LeasedLibrary) {
  if (!library.embedding) throw new ArrwError("INTERNAL", "the index described a library without embedding");
  return library.embedding;
}
