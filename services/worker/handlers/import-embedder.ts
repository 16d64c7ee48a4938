import type {
  CreateProvider,
  EmbeddedTexts,
  EmbeddingProvider,
} from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type { DocumentUpsert } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import type { BadDocument } from "../domain/document.ts";
import type { LeasedLibrary } from "../handler.ts";
import type { FailedDocument, ImportBatch, ImportDocument } from "./import-batches.ts";
import type { StoredVectors } from "./stored-vectors.ts";

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

/**
 * Embeds the texts of batches with the library's provider, those that the library has no vectors of yet where embedding
 * is paid for; clients' own vectors are only checked.
 */
export class ImportEmbedder {
  readonly #createProvider: CreateProvider;
  readonly #stored: StoredVectors;
  readonly #libraryId: string;
  #provider: EmbeddingProvider;
  #takesTexts: boolean;
  #embeddingId: string;

  constructor(createProvider: CreateProvider, stored: StoredVectors, library: LeasedLibrary) {
    this.#createProvider = createProvider;
    this.#stored = stored;
    this.#libraryId = library.library.libraryId;
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
    const embedded = await this.#embedTexts(texts, signal);
    const { ready, refused } = joinVectors(good, embedded, provider.dimensions);
    return { source, embeddingId, ready, failed: [...failed, ...refused] };
  }

  async #embedTexts(texts: readonly string[], signal: AbortSignal): Promise<EmbeddedTexts> {
    const provider = this.#provider;
    if (!provider.paid || texts.length === 0) return provider.embedEach(texts, signal);
    const { dimensions } = provider;
    const embedding = { libraryId: this.#libraryId, embeddingId: this.#embeddingId, dimensions };
    const known = await this.#stored.find(embedding, texts, signal);
    const missing = [...texts.keys()].filter((place) => !known.has(place));
    const made = await provider.embedEach(
      missing.map((place) => texts[place] ?? ""),
      signal,
    );
    const rows = new Float32Array(texts.length * dimensions);
    const bytes = new Uint8Array(rows.buffer);
    for (const [place, vector] of known) bytes.set(vector, place * dimensions * 4);
    const refused = new Map<number, string>();
    for (const [n, place] of missing.entries()) {
      rows.set(made.rows.subarray(n * dimensions, (n + 1) * dimensions), place * dimensions);
      const reason = made.refused.get(n);
      if (reason !== undefined) refused.set(place, reason);
    }
    return { rows, refused };
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

/** Gives each document its vectors; one of whose texts the provider refuses one fails, and the others go on. */
function joinVectors(
  documents: readonly ImportDocument[],
  { rows, refused }: EmbeddedTexts,
  dimensions: number,
): { readonly ready: ReadyDocument[]; readonly refused: FailedDocument[] } {
  const ready: ReadyDocument[] = [];
  const failed: FailedDocument[] = [];
  let place = 0;
  for (const { ordinal, document, vectors } of documents) {
    if (vectors) {
      const given = Buffer.from(vectors.buffer, vectors.byteOffset, vectors.length);
      ready.push({ ordinal, upsert: { document, vectors: given } });
      continue;
    }
    const { documentId, title, texts } = document;
    const first = place;
    place += texts.length;
    const bad = texts.findIndex((_, n) => refused.has(first + n));
    if (bad >= 0) {
      const reason = `chunk ${bad} of its ${texts.length}: ${refused.get(first + bad)}`;
      failed.push({ ordinal, documentId, title, code: "EMBEDDING_INPUT_REFUSED", reason });
      continue;
    }
    const bytes = dimensions * 4;
    const own = Buffer.from(rows.buffer, rows.byteOffset + first * bytes, texts.length * bytes);
    ready.push({ ordinal, upsert: { document, vectors: own } });
  }
  return { ready, refused: failed };
}

function embeddingOf({ library }: LeasedLibrary) {
  if (!library.embedding) throw new ArrwError("INTERNAL", "the index described a library without embedding");
  return library.embedding;
}
