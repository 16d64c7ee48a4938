import assert from "node:assert/strict";
import { unary } from "../../platform/grpc/client.ts";
import type { DocumentUpsert, IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { documentUpsert, packed, seededVector } from "./index-service.ts";

/**
 * What a library must hold, kept beside it by a test that kills the index: the documents whose writes were acknowledged,
 * and for a write that was cut off both what was and what would be.
 */

const CALL = { timeoutMs: 30_000 };
const CENTRES = 40;
const NOISE = 0.6;
const MIN_HNSW_FOUND = 0.99;
const SEARCHES_AT_A_TIME = 16;

/** The vector of a text in an embedding: the same text always has the same one, near one of forty centres. */
export function vectorOf(text: string, model: string, dimensions: number): Float32Array {
  const seed = hash(`${model}/${text}`);
  const centre = seededVector(hash(`${model}/${seed % CENTRES}`), dimensions);
  const noise = seededVector(seed, dimensions);
  return centre.map((value, n) => value + NOISE * (noise[n] as number));
}

function hash(text: string): number {
  let value = 2_166_136_261;
  for (let n = 0; n < text.length; n++) value = Math.imul(value ^ text.charCodeAt(n), 16_777_619) >>> 0;
  return value;
}

/** Texts by document id; undefined = it isn't there. */
type Write = ReadonlyMap<string, readonly string[] | undefined>;

export class LibraryModel {
  readonly #documents = new Map<string, readonly string[]>();
  /** Cut off: applied whole or not at all. */
  #unsure: Write[] = [];

  get ids(): readonly string[] {
    return [...this.#documents.keys()];
  }

  acknowledged(write: Write): void {
    for (const [id, texts] of write) {
      if (texts) this.#documents.set(id, texts);
      else this.#documents.delete(id);
    }
  }

  cutOff(write: Write): void {
    this.#unsure.push(write);
  }

  /** Compares everything with the library, and takes over what became of the writes that were cut off. */
  async compare(client: IndexServiceClient, libraryId: string): Promise<{ readonly chunks: number }> {
    const stored = await storedDocuments(client, libraryId);
    for (const write of this.#unsure) {
      const applied = [...write].every(([id, texts]) => same(stored.get(id), texts));
      const untouched = [...write].every(([id]) => same(stored.get(id), this.#documents.get(id)));
      assert.ok(applied || untouched, `a write of ${[...write.keys()]} was applied in part`);
      if (applied) this.acknowledged(write);
    }
    this.#unsure = [];
    assert.deepEqual([...stored.keys()].sort(), [...this.#documents.keys()].sort());
    for (const [id, texts] of this.#documents) assert.deepEqual(stored.get(id), texts, id);
    const chunks = [...stored.values()].reduce((sum, texts) => sum + texts.length, 0);
    const { library } = await unary(client, client.getLibrary, { visibleLibraries: [], libraryId }, CALL);
    assert.deepEqual([library?.documentCount, library?.chunkCount], [BigInt(stored.size), BigInt(chunks)]);
    return { chunks };
  }

  /** Each chunk is found by its own vector: by exact search always, by the index nearly always. */
  async compareSearches(client: IndexServiceClient, libraryId: string): Promise<void> {
    const { library, embeddingId } = await unary(
      client,
      client.getLibrary,
      { visibleLibraries: [], libraryId },
      CALL,
    );
    const { model = "", dimensions = 0 } = library?.embedding ?? {};
    const left = [...this.#documents].flatMap(([id, texts]) =>
      texts.map((text, n) => ({ chunkId: `${id}#${n}`, vector: vectorOf(text, model, dimensions) })),
    );
    const wanted = left.length;
    let found = 0;
    const search = async (): Promise<void> => {
      for (let next = left.pop(); next; next = left.pop()) {
        const { chunkId, vector } = next;
        const exact = await this.#firstHits(client, libraryId, embeddingId, vector, true);
        assert.ok(exact.includes(chunkId), `exact search finds ${exact} instead of ${chunkId}`);
        if ((await this.#firstHits(client, libraryId, embeddingId, vector, false)).includes(chunkId))
          found += 1;
      }
    };
    await Promise.all(Array.from({ length: SEARCHES_AT_A_TIME }, search));
    assert.ok(found >= wanted * MIN_HNSW_FOUND, `the index found ${found} of ${wanted}`);
  }

  async #firstHits(
    client: IndexServiceClient,
    libraryId: string,
    embeddingId: string,
    vector: Float32Array,
    exact: boolean,
  ): Promise<string[]> {
    const query = { libraryId, embeddingId, vector: packed(vector), k: 3, efSearch: 0, filter: undefined };
    const { hits } = await unary(client, client.search, { ...query, includeText: false, exact }, CALL);
    const best = hits[0]?.distance ?? 0;
    return hits.filter(({ distance }) => distance - best < 1e-6).map(({ chunkId }) => chunkId);
  }
}

export function upsertOf(
  id: string,
  texts: readonly string[],
  model: string,
  dimensions: number,
): DocumentUpsert {
  const vectors = texts.map((text) => vectorOf(text, model, dimensions));
  return documentUpsert(id, vectors, { texts: [...texts] });
}

function same(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

async function storedDocuments(
  client: IndexServiceClient,
  libraryId: string,
): Promise<Map<string, readonly string[]>> {
  const stored = new Map<string, readonly string[]>();
  let pageToken = "";
  do {
    const page = { libraryId, filter: undefined, pageSize: 1_000, pageToken, includeTexts: true };
    const { documents, nextPageToken } = await unary(client, client.listDocuments, page, CALL);
    for (const { documentId, texts } of documents) stored.set(documentId, texts);
    pageToken = nextPageToken;
  } while (pageToken !== "");
  return stored;
}
