import type { ChannelCredentials, ClientOptions } from "@grpc/grpc-js";
import { v7 as uuidv7 } from "uuid";
import type { Document, Vector } from "../proto/gen/arrwdb/v1/document.ts";
import { type DeepPartial, JobServiceClient } from "../proto/gen/arrwdb/v1/jobs.ts";
import {
  CreateLibraryRequest,
  type Library,
  LibraryServiceClient,
  ListDocumentsRequest,
  type ListDocumentsResponse,
  type ListLibrariesResponse,
  SearchRequest,
  type SearchResponse,
} from "../proto/gen/arrwdb/v1/libraries.ts";
import { accessOf } from "./access.ts";
import { type CallSettings, connected, type Deadline, goneMeanwhile, present, repeatedly } from "./calls.ts";
import type { ClientError } from "./error.ts";
import {
  type ArrwClientOptions,
  CHANNEL_OPTIONS,
  DEFAULT_ADDRESS,
  DEFAULT_K,
  DEFAULT_TIMEOUT_MS,
  type SearchOptions,
  type SearchQuery,
} from "./options.ts";
import { pages } from "./pages.ts";
import { type LibraryEvent, type WatchLibraryOptions, watchLibrary } from "./watch-library.ts";

/** The connection, and ArrwClient's methods for libraries, documents and search. */
export class LibraryCalls {
  readonly address: string;
  protected readonly timeoutMs: number;
  protected readonly credentials: ChannelCredentials;
  protected readonly jobStub: JobServiceClient;
  /** For a stub that shares the connection. */
  protected readonly stubOptions: ClientOptions;
  readonly #libraries: LibraryServiceClient;

  /** @throws ClientError INVALID_ARGUMENT: options that contradict each other, a file that can't be read */
  constructor(options: ArrwClientOptions = {}) {
    this.address = options.address ?? DEFAULT_ADDRESS;
    this.timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    const access = accessOf(options);
    this.credentials = access.credentials;
    const stubOptions = { ...CHANNEL_OPTIONS, ...access.options };
    this.jobStub = new JobServiceClient(this.address, this.credentials, stubOptions);
    this.stubOptions = { ...stubOptions, channelOverride: this.jobStub.getChannel() };
    this.#libraries = new LibraryServiceClient(this.address, this.credentials, this.stubOptions);
  }

  /** Not needed before a call. @throws ClientError UNAVAILABLE as soon as nothing listens there */
  connect(settings: Pick<CallSettings, "timeoutMs"> = {}): Promise<void> {
    return connected(this.jobStub, this.address, this.deadline(settings).deadlineMs);
  }

  /** Open calls end with CANCELLED. */
  close(): void {
    this.jobStub.close();
  }

  /** The same name again with the same configuration: ALREADY_EXISTS, unless the same `libraryId` is given. */
  async createLibrary(
    request: DeepPartial<CreateLibraryRequest>,
    settings: CallSettings = {},
  ): Promise<Library> {
    // An id of our own makes the call repeatable.
    const message = CreateLibraryRequest.fromPartial({
      ...request,
      libraryId: request.libraryId || uuidv7(),
    });
    const stub = this.#libraries;
    const { library } = await repeatedly(stub, stub.createLibrary, message, this.deadline(settings));
    return present(library, "library");
  }

  async getLibrary(libraryId: string, settings: CallSettings = {}): Promise<Library> {
    const stub = this.#libraries;
    const { library } = await repeatedly(stub, stub.getLibrary, { libraryId }, this.deadline(settings));
    return present(library, "library");
  }

  /** A page, by name: 50 unless `pageSize` (at most 1,000) says otherwise. */
  listLibraries(
    page: { readonly pageSize?: number; readonly pageToken?: string } = {},
    settings: CallSettings = {},
  ): Promise<ListLibrariesResponse> {
    const request = { pageSize: page.pageSize ?? 0, pageToken: page.pageToken ?? "" };
    return repeatedly(this.#libraries, this.#libraries.listLibraries, request, this.deadline(settings));
  }

  /** All of them, by name, fetched as they are read. */
  libraries(settings: CallSettings = {}): AsyncGenerator<Library> {
    return pages(async (pageToken) => {
      const { libraries, nextPageToken } = await this.listLibraries({ pageSize: 1_000, pageToken }, settings);
      return { items: libraries, nextPageToken };
    });
  }

  /** With all its documents; its active jobs fail. */
  async deleteLibrary(libraryId: string, settings: CallSettings = {}): Promise<void> {
    const stub = this.#libraries;
    await repeatedly(stub, stub.deleteLibrary, { libraryId }, this.deadline(settings), goneMeanwhile);
  }

  /** `texts` are its chunks, in order. */
  async getDocument(
    libraryId: string,
    documentId: string,
    options: CallSettings & { readonly includeVectors?: boolean } = {},
  ): Promise<Document> {
    const request = { libraryId, documentId, includeVectors: options.includeVectors ?? false };
    const stub = this.#libraries;
    const { document } = await repeatedly(stub, stub.getDocument, request, this.deadline(options));
    return present(document, "document");
  }

  /** A page, by id. */
  listDocuments(
    request: DeepPartial<ListDocumentsRequest>,
    settings: CallSettings = {},
  ): Promise<ListDocumentsResponse> {
    const message = ListDocumentsRequest.fromPartial(request);
    return repeatedly(this.#libraries, this.#libraries.listDocuments, message, this.deadline(settings));
  }

  /** All that pass the filter, by id, fetched as they are read. */
  documents(
    libraryId: string,
    request: Omit<DeepPartial<ListDocumentsRequest>, "libraryId" | "pageToken"> = {},
    settings: CallSettings = {},
  ): AsyncGenerator<Document> {
    return pages(async (pageToken) => {
      const page = await this.listDocuments({ ...request, libraryId, pageToken }, settings);
      return { items: page.documents, nextPageToken: page.nextPageToken };
    });
  }

  async deleteDocument(libraryId: string, documentId: string, settings: CallSettings = {}): Promise<void> {
    const stub = this.#libraries;
    const request = { libraryId, documentId };
    await repeatedly(stub, stub.deleteDocument, request, this.deadline(settings), goneMeanwhile);
  }

  /** Best first. */
  search(
    libraryId: string,
    query: SearchQuery,
    options: SearchOptions = {},
    settings: CallSettings = {},
  ): Promise<SearchResponse> {
    const asked: NonNullable<SearchRequest["query"]> =
      typeof query === "string"
        ? { $case: "text", value: query }
        : { $case: "vector", value: toVector(query) };
    const request = SearchRequest.fromPartial({ k: DEFAULT_K, ...options, libraryId });
    request.query = asked;
    return repeatedly(this.#libraries, this.#libraries.search, request, this.deadline(settings));
  }

  /**
   * Every change of the library, in order, without a gap; never ends by itself. When the connection or a service
   * breaks it goes on behind the last event.
   * @throws ClientError NOT_FOUND when the library is deleted; OUT_OF_RANGE, reason CURSOR_EXPIRED: what follows the
   * cursor is no longer held, `metadata.oldest_cursor` is a cursor that is
   */
  watchLibrary(libraryId: string, options: WatchLibraryOptions = {}): AsyncGenerator<LibraryEvent> {
    return watchLibrary(this.#libraries, libraryId, options);
  }

  /**
   * Goes back to the generation before the last swap. @returns the library after it
   * @throws ClientError FAILED_PRECONDITION, reason NO_PREVIOUS_GENERATION or EMBEDDING_CHANGED
   */
  async rollbackGeneration(libraryId: string, settings: CallSettings = {}): Promise<Library> {
    const stub = this.#libraries;
    const deadline = this.deadline(settings);
    // A rollback whose reply was lost has nothing more to go back to.
    const done = ({ reason }: ClientError, attempt: number) =>
      attempt > 1 && reason === "NO_PREVIOUS_GENERATION" ? { library: undefined } : undefined;
    const { library } = await repeatedly(stub, stub.rollbackGeneration, { libraryId }, deadline, done);
    return library ?? this.getLibrary(libraryId, settings);
  }

  protected deadline({ timeoutMs, signal }: CallSettings): Deadline {
    return { deadlineMs: Date.now() + (timeoutMs ?? this.timeoutMs), signal };
  }
}

function toVector(values: readonly number[] | Float32Array): Vector {
  // The numbers as the machine has them, which is little-endian on x64 and arm64.
  return { values: [], packed: Buffer.from(Float32Array.from(values).buffer) };
}
