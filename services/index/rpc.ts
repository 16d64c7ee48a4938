import { embeddingId } from "../../platform/embedding/embedding-id.ts";
import { ArrwError } from "../../platform/errors.ts";
import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import { IndexServiceService, type UpsertDocumentsRequest } from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { Library as LibraryMessage } from "../../proto/gen/arrwdb/v1/libraries.ts";
import type { IndexMetrics } from "./index-metrics.ts";
import type { Libraries } from "./libraries.ts";
import type { Library } from "./library.ts";
import { locateDocuments } from "./locate.ts";
import { pageToken, readPageToken } from "./page-token.ts";
import { MAX_CANDIDATES } from "./usearch-index.ts";
import {
  Checks,
  checkedConfig,
  checkedFence,
  checkedQuery,
  checkedUpsert,
  checkFilter,
  checkPageSize,
  MAX_DELETED,
  requiredFence,
} from "./validate.ts";

/** The gRPC face of the libraries: checks what comes in, calls, answers. */
export function indexService(libraries: Libraries, metrics: IndexMetrics): ImplementedService {
  return implement(IndexServiceService, {
    ...libraryHandlers(libraries),
    ...documentHandlers(libraries, metrics),
    ...leaseHandlers(libraries, metrics),
  });
}

type Handlers = Parameters<typeof implement<typeof IndexServiceService>>[1];

function libraryHandlers(
  libraries: Libraries,
): Pick<Handlers, "createLibrary" | "getLibrary" | "listLibraries" | "deleteLibrary"> {
  return {
    createLibrary: async (request) => {
      const config = checkedConfig(request);
      const row = await libraries.create(config, embeddingId(config.embedding), Date.now());
      return libraries.use(row.id, described);
    },
    getLibrary: async ({ libraryId, visibleLibraries }) =>
      libraries.use(libraries.resolve(libraryId, visibleLibraries).id, async (library) => {
        library.warm();
        return described(library);
      }),
    listLibraries: async ({ pageSize, pageToken: token, visibleLibraries }) => {
      const checks = new Checks();
      checkPageSize(pageSize, checks);
      checks.done();
      const rows = libraries.list(readPageToken("libraries", token), pageSize + 1, visibleLibraries);
      const page = rows.slice(0, pageSize);
      const messages = [];
      // One by one: a page may hold more libraries than may be open.
      for (const row of page) {
        const message = await libraries.use(row.id, (library) => library.message()).catch(ignoreDeleted);
        if (message) messages.push(message);
      }
      const last = rows.length > pageSize ? page.at(-1) : undefined;
      return { libraries: messages, nextPageToken: last ? pageToken("libraries", last.name) : "" };
    },
    deleteLibrary: async ({ libraryId }) => {
      await libraries.delete(libraryId);
      return {};
    },
  };
}

function documentHandlers(
  libraries: Libraries,
  metrics: IndexMetrics,
): Pick<
  Handlers,
  "getDocument" | "listDocuments" | "upsertDocuments" | "deleteDocuments" | "locateDocuments" | "search"
> {
  return {
    locateDocuments: (request) => locateDocuments(libraries, request),
    getDocument: ({ libraryId, documentId, includeVectors }) =>
      libraries.use(libraryId, async (library) => ({
        document: library.document(documentId, includeVectors),
      })),
    listDocuments: async ({ libraryId, filter, pageSize, pageToken: token, includeTexts }) => {
      const checks = new Checks();
      checkPageSize(pageSize, checks);
      checkFilter(filter, checks);
      checks.done();
      const after = readPageToken("documents", token);
      return libraries.use(libraryId, async (library) => {
        const { documents, last } = library.documents(filter, after, pageSize, includeTexts);
        return { documents, nextPageToken: last === undefined ? "" : pageToken("documents", last) };
      });
    },
    upsertDocuments: async (request, { signal }) => {
      const timed = metrics.upsert.startTimer();
      const change = await libraries
        .use(request.libraryId, (library) => upsert(library, request, signal))
        .catch(countFenced(metrics));
      timed();
      return { change: BigInt(change) };
    },
    deleteDocuments: async ({ libraryId, fence, documentIds }) => {
      const checks = new Checks();
      const claim = checkedFence(fence, checks);
      checks.that(
        documentIds.length <= MAX_DELETED,
        "document_ids",
        `at most ${MAX_DELETED}, got ${documentIds.length}`,
      );
      checks.done();
      const missingIds = await libraries
        .use(libraryId, (library) => library.delete(claim, documentIds))
        .catch(countFenced(metrics));
      return { missingIds };
    },
    search: async ({
      libraryId,
      embeddingId: id,
      vector: bytes,
      k,
      efSearch,
      filter,
      includeText,
      exact,
    }) => {
      const mode = exact ? "exact" : filter ? "filtered" : "index";
      const timed = metrics.search.startTimer({ mode });
      return libraries.use(libraryId, async (library) => {
        const generation = await library.live();
        const checks = new Checks();
        checks.integer("k", k, 1, MAX_CANDIDATES);
        checks.integer("ef_search", efSearch, 0, MAX_CANDIDATES);
        checkFilter(filter, checks);
        const vector = checkedQuery(bytes, id, generation.row, checks);
        const search = { vector, k, ef: efSearch, filter, includeText, exact };
        const hits = await library.search(generation, search);
        timed();
        return { hits, generation: BigInt(generation.row.generation) };
      });
    },
  };
}

function leaseHandlers(
  libraries: Libraries,
  metrics: IndexMetrics,
): Pick<Handlers, "beginLease" | "endLease"> {
  return {
    beginLease: async ({ libraryId, fence }) => {
      const claim = requiredFence(fence);
      return libraries
        .use(libraryId, async (library) => {
          await library.beginLease(claim, Date.now());
          return described(library);
        })
        .catch(countFenced(metrics));
    },
    endLease: async ({ libraryId, fence }) => {
      const claim = requiredFence(fence);
      await libraries.use(libraryId, (library) => library.endLease(claim, Date.now())).catch(ignoreDeleted);
      return {};
    },
  };
}

/** The library, and its embedding's id as of the same moment. */
async function described(library: Library): Promise<{ library: LibraryMessage; embeddingId: string }> {
  await library.live();
  const message = await library.message();
  return { library: message, embeddingId: message.embedding ? embeddingId(message.embedding) : "" };
}

/** Checks for the generation that is live; again when another one is by the time that it is written. */
async function upsert(
  library: Library,
  request: UpsertDocumentsRequest,
  signal: AbortSignal,
): Promise<number> {
  for (;;) {
    const generation = await library.live();
    const { fence, documents } = checkedUpsert(request, generation.row);
    const change = await library.upsert(fence, generation, documents, signal);
    if (change !== undefined) return change;
  }
}

function countFenced(metrics: IndexMetrics): (error: unknown) => never {
  return (error) => {
    if (error instanceof ArrwError && error.reason === "LEASE_FENCED") metrics.fenced.inc();
    throw error;
  };
}

function ignoreDeleted(error: unknown): undefined {
  if (error instanceof ArrwError && error.reason === "LIBRARY_NOT_FOUND") return undefined;
  throw error;
}
