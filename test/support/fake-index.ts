import { ArrwError, notFound } from "../../platform/errors.ts";
import { GrpcServer, implement } from "../../platform/grpc/server.ts";
import { silentLog } from "../../platform/log.ts";
import { createRegistry } from "../../platform/metrics.ts";
import { BuildServiceService } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { IndexServiceService, type SearchRequest } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { Library } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { Cleanup } from "./temp.ts";

/** An index service that knows libraries and no documents. */
export class FakeIndex {
  readonly libraries = new Map<string, Library>();
  readonly searches: SearchRequest[] = [];
  /** Calls of GetLibrary. */
  asked = 0;
  embeddingId = "embedding-1";
  #server: GrpcServer | undefined;

  get address(): string {
    return `127.0.0.1:${this.#server?.port ?? 1}`;
  }

  add(libraryId: string, name: string, provider: string, dimensions: number): void {
    const embedding = { provider, model: provider === "hashing" ? "ngram-v1" : "", dimensions };
    this.libraries.set(libraryId, Library.fromPartial({ libraryId, name, embedding, generation: 1n }));
  }

  async start(t: Cleanup): Promise<this> {
    this.#server = new GrpcServer({
      host: "127.0.0.1",
      port: 0,
      services: [this.#service(), this.#builds()],
      log: silentLog(),
      registry: createRegistry("fake-index"),
      maxReceiveBytes: 64 * 1024 * 1024,
      defaultTimeoutMs: 10_000,
    });
    await this.#server.start();
    t.after(() => this.#server?.stop());
    return this;
  }

  #find(idOrName: string): Library {
    const found =
      this.libraries.get(idOrName) ?? [...this.libraries.values()].find(({ name }) => name === idOrName);
    if (!found) throw notFound("library", idOrName);
    return found;
  }

  #builds() {
    const unused = async (): Promise<never> => {
      throw new ArrwError("UNIMPLEMENTED", "the gateway builds nothing");
    };
    return implement(BuildServiceService, {
      startBuild: unused,
      getBuild: unused,
      readBuildChunks: unused,
      writeBuildVectors: unused,
      swapBuild: unused,
      dropBuild: unused,
      rollbackGeneration: async ({ libraryId }) => {
        const library = this.#find(libraryId);
        if (library.previousGeneration === 0n) {
          throw new ArrwError("FAILED_PRECONDITION", "none is kept", { reason: "NO_PREVIOUS_GENERATION" });
        }
        library.generation = library.previousGeneration;
        library.previousGeneration = 0n;
        return { library };
      },
    });
  }

  #service() {
    const { embeddingId } = this;
    return implement(IndexServiceService, {
      createLibrary: async (request) => {
        const library = Library.fromPartial({ ...request, generation: 1n });
        this.libraries.set(library.libraryId, library);
        return { library, embeddingId };
      },
      getLibrary: async ({ libraryId }) => {
        this.asked += 1;
        return { library: this.#find(libraryId), embeddingId: this.embeddingId };
      },
      listLibraries: async () => ({ libraries: [...this.libraries.values()], nextPageToken: "" }),
      deleteLibrary: async ({ libraryId }) => {
        this.libraries.delete(this.#find(libraryId).libraryId);
        return {};
      },
      getDocument: async ({ libraryId, documentId }) => {
        this.#find(libraryId);
        throw notFound("document", documentId);
      },
      listDocuments: async ({ libraryId }) => {
        this.#find(libraryId);
        return { documents: [], nextPageToken: "" };
      },
      upsertDocuments: async () => ({ change: 0n }),
      deleteDocuments: async ({ libraryId, documentIds }) => {
        this.#find(libraryId);
        return { missingIds: documentIds };
      },
      locateDocuments: async () => {
        const [first] = this.libraries.keys();
        return { libraries: [], nextPageToken: "", firstLibraryId: first ?? "" };
      },
      search: async (request) => {
        this.#find(request.libraryId);
        this.searches.push(request);
        if (request.embeddingId !== this.embeddingId) {
          throw new ArrwError("ABORTED", "another embedding", { reason: "EMBEDDING_CHANGED" });
        }
        return { hits: [], generation: 1n };
      },
      beginLease: async () => ({ library: undefined, embeddingId }),
      endLease: async () => ({}),
    });
  }
}
