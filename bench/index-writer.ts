import type { System } from "../cli/supervisor.ts";
import type { ArrwClient } from "../client/index.ts";
import { connect, unary } from "../platform/grpc/client.ts";
import { DocumentUpsert, IndexServiceClient } from "../proto/gen/arrwdb/index/v1/index.ts";

/** Writes single documents as a worker does, and knows what must be there afterwards. */
export class IndexWriter {
  readonly #client: IndexServiceClient;
  readonly #rows: Float32Array;
  readonly #dimensions: number;
  /** Documents that were there before, "document-<n>"; the rows behind theirs are for upserts. */
  readonly #documents: number;
  /** Row of the last acknowledged vector, by document. */
  readonly #written = new Map<string, number>();
  #passedOver = 0;
  #libraryId = "";
  #embeddingId = "";

  constructor(system: System, rows: Float32Array, dimensions: number, documents: number) {
    const port = system.addresses.find(({ setting }) => setting === "ARRW_INDEX_GRPC_PORT");
    this.#client = connect(IndexServiceClient, port?.address ?? "");
    this.#rows = rows;
    this.#dimensions = dimensions;
    this.#documents = documents;
  }

  async open(libraryId: string): Promise<void> {
    const call = { timeoutMs: 10_000 };
    const { embeddingId } = await unary(
      this.#client,
      this.#client.getLibrary,
      { visibleLibraries: [], libraryId },
      call,
    );
    this.#libraryId = libraryId;
    this.#embeddingId = embeddingId;
  }

  /** Documents whose last write was acknowledged. */
  get acknowledged(): number {
    return this.#written.size;
  }

  /** The n-th: every other one replaces a document, each another one. */
  async upsert(n: number): Promise<void> {
    const fresh = this.#rows.length / this.#dimensions - this.#documents;
    const row = this.#documents + (n % fresh);
    const documentId = n % 2 === 0 ? `new-${n}` : `document-${(n * STEP) % this.#documents}`;
    const document = DocumentUpsert.fromPartial({
      document: { documentId, title: `row ${row}`, texts: [`The text of row ${row}.`] },
      vectors: this.#packed(row),
    });
    const request = {
      libraryId: this.#libraryId,
      embeddingId: this.#embeddingId,
      fence: undefined,
      documents: [document],
    };
    await unary(this.#client, this.#client.upsertDocuments, request, { timeoutMs: 30_000 });
    this.#written.set(documentId, row);
  }

  /** What is wrong with documents whose write was acknowledged: each is read, and searched by its vector. */
  async missing(client: ArrwClient): Promise<string[]> {
    const wrong: string[] = [];
    const left = [...this.#written];
    const check = async (): Promise<void> => {
      for (let next = left.pop(); next; next = left.pop()) {
        const [documentId, row] = next;
        const read = await client.getDocument(this.#libraryId, documentId).catch(() => undefined);
        if (read?.title !== `row ${row}`)
          wrong.push(`${documentId} has title ${read?.title}, not row ${row}`);
        const vector = this.#rows.subarray(row * this.#dimensions, (row + 1) * this.#dimensions);
        const finds = async (exact: boolean): Promise<boolean> => {
          const { hits } = await client.search(this.#libraryId, vector, { exact });
          return hits.some((hit) => hit.documentId === documentId);
        };
        if (await finds(false)) continue;
        // HNSW is approximate: what it passes over isn't lost.
        this.#passedOver += 1;
        if (!(await finds(true))) wrong.push(`${documentId} is not found by its vector`);
      }
    };
    await Promise.all(Array.from({ length: 8 }, check));
    return wrong;
  }

  /** Documents that only exact search found by their own vector, of those that `missing` looked at. */
  get passedOver(): number {
    return this.#passedOver;
  }

  close(): void {
    this.#client.close();
  }

  #packed(row: number): Buffer {
    const bytes = this.#dimensions * 4;
    return Buffer.from(this.#rows.buffer, this.#rows.byteOffset + row * bytes, bytes);
  }
}

/** Coprime to any count of documents a bench uses, so that no document is written twice. */
const STEP = 7_919;
