import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, unary } from "../../platform/grpc/client.ts";
import { GrpcServer } from "../../platform/grpc/server.ts";
import { type Logger, silentLog } from "../../platform/log.ts";
import { createRegistry } from "../../platform/metrics.ts";
import {
  type CreateLibraryRequest,
  type DocumentUpsert,
  IndexServiceClient,
  type SearchRequest,
  type SearchResponse,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import { buildService } from "../../services/index/builds-rpc.ts";
import { changeService } from "../../services/index/changes-rpc.ts";
import { embeddingService } from "../../services/index/embeddings-rpc.ts";
import { exportService } from "../../services/index/exports-rpc.ts";
import { IndexMetrics } from "../../services/index/index-metrics.ts";
import { Libraries } from "../../services/index/libraries.ts";
import { indexService } from "../../services/index/rpc.ts";
import { VectorPool } from "../../services/index/vector-pool.ts";

/** An index service in this process, over its real gRPC server, for tests. */

export interface IndexServiceOptions {
  /** A folder of an earlier service; a new one otherwise. */
  readonly folder?: string;
  readonly log?: Logger;
  readonly maxOpen?: number;
  readonly snapshotChanges?: number;
  readonly watchEvents?: number;
  readonly generationRetentionMs?: number;
  readonly memoryLimitBytes?: number;
  readonly buildKeepAliveMs?: number;
  readonly cacheBytes?: number;
}

export interface TestIndexService {
  readonly folder: string;
  readonly address: string;
  readonly client: IndexServiceClient;
  readonly libraries: Libraries;
  /** Stops it; the folder stays unless it is removed. */
  stop(options?: { readonly keep?: boolean }): Promise<void>;
}

export async function startIndexService(options: IndexServiceOptions = {}): Promise<TestIndexService> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "arrw-index-")));
  const log = options.log ?? silentLog();
  const registry = createRegistry("index");
  const pool = new VectorPool({
    threads: 1,
    cacheBytes: options.cacheBytes ?? 64 * 1024 * 1024,
    log,
    onDeath: (error) => {
      throw error;
    },
  });
  const libraries = new Libraries({
    folder,
    pool,
    log,
    maxOpen: options.maxOpen ?? 50,
    snapshotChanges: options.snapshotChanges ?? 20_000,
    watchEvents: options.watchEvents ?? 100_000,
    generationRetentionMs: options.generationRetentionMs ?? 86_400_000,
    memoryLimitBytes: options.memoryLimitBytes ?? 0,
    ...(options.buildKeepAliveMs === undefined ? {} : { buildKeepAliveMs: options.buildKeepAliveMs }),
  });
  const metrics = new IndexMetrics(registry, libraries);
  const server = new GrpcServer({
    host: "127.0.0.1",
    port: 0,
    services: [
      indexService(libraries, metrics),
      buildService(libraries),
      embeddingService(libraries, registry),
      changeService(libraries, metrics),
      exportService(libraries),
    ],
    log,
    registry,
    maxReceiveBytes: 64 * 1024 * 1024,
    defaultTimeoutMs: 30_000,
  });
  await pool.start();
  await libraries.start();
  await server.start();
  const address = `127.0.0.1:${server.port}`;
  const client = connect(IndexServiceClient, address);
  return {
    folder,
    address,
    client,
    libraries,
    stop: async ({ keep = false } = {}) => {
      client.close();
      await server.stop();
      await libraries.stop();
      await pool.stop();
      registry.clear();
      if (!keep) await rm(folder, { recursive: true, force: true });
    },
  };
}

/** A request for a library of `dimensions`, cosine and bf16 unless told otherwise. */
export function libraryRequest(
  libraryId: string,
  dimensions: number,
  overrides: Partial<CreateLibraryRequest> & { readonly metric?: string; readonly scalar?: string } = {},
): CreateLibraryRequest {
  const { metric = "cos", scalar = "bf16", ...rest } = overrides;
  return {
    libraryId,
    name: libraryId,
    embedding: { provider: "none", model: "", dimensions },
    indexType: "hnsw",
    indexConfig: { metric, scalar, connectivity: 16, expansionAdd: 128, expansionSearch: 64 },
    ...rest,
  };
}

/** Numbers from -1 to 1 that are the same for the same seed. */
export function seededVector(seed: number, dimensions: number): Float32Array {
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  return Float32Array.from({ length: dimensions }, () => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2_147_483_648 - 1;
  });
}

export function packed(...vectors: readonly Float32Array[]): Buffer {
  return Buffer.concat(vectors.map((v) => Buffer.from(v.buffer, v.byteOffset, v.byteLength)));
}

/** One document with a text for each vector. */
export function documentUpsert(
  documentId: string,
  vectors: readonly Float32Array[],
  fields: Partial<NonNullable<DocumentUpsert["document"]>> = {},
): DocumentUpsert {
  return {
    document: {
      documentId,
      title: `title of ${documentId}`,
      texts: vectors.map((_, n) => `text ${n} of ${documentId}`),
      metadata: undefined,
      author: "",
      tags: [],
      vectors: [],
      sourceUrl: "",
      ...fields,
    },
    vectors: packed(...vectors),
  };
}

/** A client bound to one library: the calls that most tests make. */
export class TestLibrary {
  readonly id: string;
  readonly embeddingId: string;
  readonly #client: IndexServiceClient;

  private constructor(client: IndexServiceClient, id: string, embeddingId: string) {
    this.#client = client;
    this.id = id;
    this.embeddingId = embeddingId;
  }

  static async create(client: IndexServiceClient, request: CreateLibraryRequest): Promise<TestLibrary> {
    const { embeddingId } = await unary(client, client.createLibrary, request, { timeoutMs: 10_000 });
    return new TestLibrary(client, request.libraryId, embeddingId);
  }

  upsert(documents: DocumentUpsert[], fence?: { jobId: string; lease: bigint }): Promise<bigint> {
    return this.upsertAs(this.embeddingId, documents, fence);
  }

  /** Vectors of another embedding than the library began with. */
  async upsertAs(
    embeddingId: string,
    documents: DocumentUpsert[],
    fence?: { jobId: string; lease: bigint },
  ): Promise<bigint> {
    const { id: libraryId } = this;
    const request = { libraryId, embeddingId, fence, documents };
    return (await unary(this.#client, this.#client.upsertDocuments, request, { timeoutMs: 60_000 })).change;
  }

  async delete(documentIds: string[], fence?: { jobId: string; lease: bigint }): Promise<string[]> {
    const request = { libraryId: this.id, fence, documentIds };
    return (await unary(this.#client, this.#client.deleteDocuments, request, { timeoutMs: 10_000 }))
      .missingIds;
  }

  search(vector: Float32Array, k: number, more: Partial<SearchRequest> = {}): Promise<SearchResponse> {
    const request: SearchRequest = {
      libraryId: this.id,
      embeddingId: this.embeddingId,
      vector: packed(vector),
      k,
      efSearch: 0,
      filter: undefined,
      includeText: true,
      exact: false,
      ...more,
    };
    return unary(this.#client, this.#client.search, request, { timeoutMs: 30_000 });
  }
}
