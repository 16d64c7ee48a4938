import { ArrwError, invalidArgument, notFound, unavailable } from "../../../platform/errors.ts";
import { GrpcServer, type ImplementedService, implement } from "../../../platform/grpc/server.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import {
  type DeleteDocumentsRequest,
  type DocumentUpsert,
  type Fence,
  IndexServiceService,
  type UpsertDocumentsRequest,
} from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { Library } from "../../../proto/gen/arrwdb/v1/libraries.ts";
import { compileFilter } from "../../../services/index/domain/filter.ts";
import type { Cleanup } from "../../support/temp.ts";

/** The index as imports and deletions see it: one library in memory, with fences, and with faults on request. */
export class MemoryIndex {
  readonly libraryId = "books";
  readonly documents = new Map<string, DocumentUpsert>();
  /** Ids of each upsert that was applied, in order. */
  readonly upserts: string[][] = [];
  readonly events: string[] = [];
  provider = "hashing";
  dimensions = 8;
  embeddingId = "embedding-1";
  gone = false;
  /** Served beside it, from the next `listen` on. */
  readonly services: ImplementedService[] = [];
  /** Called before an upsert is applied; what it throws is the answer. */
  onUpsert: (request: UpsertDocumentsRequest, signal: AbortSignal) => Promise<void> | void = () => undefined;
  /** Ids of each deletion that was applied, in order. */
  readonly deletes: string[][] = [];
  /** Called when a deletion was applied, before it is answered. */
  onDeleted: (request: DeleteDocumentsRequest, signal: AbortSignal) => Promise<void> | void = () => undefined;
  readonly #fences = new Map<string, { lease: bigint; open: boolean }>();
  #server: GrpcServer | undefined;
  #port = 0;

  get address(): string {
    return `127.0.0.1:${this.#port}`;
  }

  get chunks(): number {
    return [...this.documents.values()].reduce((sum, each) => sum + (each.document?.texts.length ?? 0), 0);
  }

  static async start(t: Cleanup, services: readonly ImplementedService[] = []): Promise<MemoryIndex> {
    const index = new MemoryIndex();
    index.services.push(...services);
    await index.listen();
    t.after(() => index.close());
    return index;
  }

  /** Starts on the port it had before. */
  async listen(): Promise<void> {
    this.#server = new GrpcServer({
      host: "127.0.0.1",
      port: this.#port,
      services: [this.#service(), ...this.services],
      log: silentLog(),
      registry: createRegistry("memory-index"),
      maxReceiveBytes: 64 * 1024 * 1024,
      defaultTimeoutMs: 10_000,
    });
    await this.#server.start();
    this.#port = this.#server.port;
  }

  async close(): Promise<void> {
    await this.#server?.stop();
    this.#server = undefined;
  }

  #library(libraryId: string): { library: Library; embeddingId: string } {
    if (this.gone || libraryId !== this.libraryId) throw notFound("library", libraryId);
    const { provider, dimensions, embeddingId } = this;
    const embedding = { provider, model: "", dimensions };
    return { library: Library.fromPartial({ libraryId, name: libraryId, embedding }), embeddingId };
  }

  #checkFence(fence: Fence | undefined): void {
    const row = this.#fences.get(fence?.jobId ?? "");
    if (row?.open && row.lease === fence?.lease) return;
    throw fenced();
  }

  #service() {
    const unused = async (): Promise<never> => {
      throw new ArrwError("UNIMPLEMENTED", "jobs don't call this");
    };
    return implement(IndexServiceService, {
      createLibrary: unused,
      getLibrary: async ({ libraryId }) => this.#library(libraryId),
      listLibraries: unused,
      deleteLibrary: unused,
      getDocument: unused,
      listDocuments: async ({ libraryId, filter, pageSize, pageToken }) => {
        this.#library(libraryId);
        const passes = compileFilter(filter ?? { all: [] });
        const all = [...this.documents.values()].flatMap(({ document }) => document ?? []);
        const after = all.filter((each) => each.documentId > pageToken && passes(each));
        const page = after.sort((a, b) => (a.documentId < b.documentId ? -1 : 1)).slice(0, pageSize);
        const nextPageToken = after.length > pageSize ? (page.at(-1)?.documentId ?? "") : "";
        return { documents: page.map((each) => ({ ...each, texts: [] })), nextPageToken };
      },
      deleteDocuments: async (request, { signal }) => {
        this.#library(request.libraryId);
        this.#checkFence(request.fence);
        const missingIds = request.documentIds.filter((id) => !this.documents.delete(id));
        this.deletes.push(request.documentIds);
        await this.onDeleted(request, signal);
        return { missingIds };
      },
      locateDocuments: unused,
      search: unused,
      beginLease: async ({ libraryId, fence }) => {
        const answer = this.#library(libraryId);
        const row = this.#fences.get(fence?.jobId ?? "");
        const lease = fence?.lease ?? 0n;
        if (row && (row.lease > lease || (row.lease === lease && !row.open))) throw fenced();
        this.#fences.set(fence?.jobId ?? "", { lease, open: true });
        this.events.push("begin");
        return answer;
      },
      endLease: async ({ fence }) => {
        this.#fences.set(fence?.jobId ?? "", { lease: fence?.lease ?? 0n, open: false });
        this.events.push("end");
        return {};
      },
      upsertDocuments: async (request, { signal }) => {
        await this.onUpsert(request, signal);
        this.#library(request.libraryId);
        this.#checkFence(request.fence);
        if (request.embeddingId !== this.embeddingId) {
          throw new ArrwError("ABORTED", "another embedding", { reason: "EMBEDDING_CHANGED" });
        }
        for (const { document, vectors } of request.documents) {
          if (vectors.length !== (document?.texts.length ?? 0) * this.dimensions * 4) {
            throw invalidArgument([{ field: "documents.vectors", description: `${vectors.length} bytes` }]);
          }
        }
        for (const each of request.documents) this.documents.set(each.document?.documentId ?? "", each);
        this.upserts.push(request.documents.map(({ document }) => document?.documentId ?? ""));
        this.events.push("upsert");
        return { change: BigInt(this.upserts.length) };
      },
    });
  }
}

export function fenced(): ArrwError {
  return new ArrwError("FAILED_PRECONDITION", "another lease", { reason: "LEASE_FENCED" });
}

export function away(): ArrwError {
  return unavailable("the index is away");
}
