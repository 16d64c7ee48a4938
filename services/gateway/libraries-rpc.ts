import { v7 as uuidv7 } from "uuid";
import { completeEmbeddingConfig, PROVIDERS } from "../../platform/embedding/create-provider.ts";
import type { CreateProvider } from "../../platform/embedding/provider.ts";
import { ArrwError, invalidArgument, notFound } from "../../platform/errors.ts";
import { unary } from "../../platform/grpc/client.ts";
import type { Handlers } from "../../platform/grpc/server.ts";
import {
  DeleteDocumentsRequest,
  GetDocumentRequest as IndexGetDocument,
  ListDocumentsRequest as IndexListDocuments,
  ListLibrariesRequest as IndexListLibraries,
  IndexServiceService,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import type {
  CreateLibraryRequest,
  CreateLibraryResponse,
  DeleteDocumentRequest,
  DeleteDocumentResponse,
  DeleteLibraryRequest,
  DeleteLibraryResponse,
  GetDocumentRequest,
  GetLibraryRequest,
  GetLibraryResponse,
  LibraryServiceService,
  ListDocumentsRequest,
  ListLibrariesRequest,
} from "../../proto/gen/arrwdb/v1/libraries.ts";
import { type Principal, sees, visibleLibraries } from "./domain/principal.ts";
import { isDocumentId, isName } from "./domain/validation/ids.ts";
import { checkCreateLibrary, checkListDocuments, checkListLibraries } from "./domain/validation/library.ts";
import { pageSizeOf } from "./domain/validation/paging.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
import { seenLibrary } from "./library-filter.ts";
import { rollbackGeneration } from "./rollback-rpc.ts";
import { Search } from "./search.ts";
import { watchLibrary } from "./watch-library.ts";

/** arrwdb.v1.LibraryService. */
export function libraryHandlers(
  index: IndexClient,
  createProvider: CreateProvider,
): Handlers<typeof LibraryServiceService, GatewayContext> {
  const search = new Search(index, createProvider);
  return {
    createLibrary: (request, context) => createLibrary(index, request, context),
    getLibrary: (request, context) => getLibrary(index, request, context),
    listLibraries: (request, context) => listLibraries(index, request, context),
    deleteLibrary: (request, context) => deleteLibrary(index, request, context),
    getDocument: (request, context) => getDocument(index, request, context),
    listDocuments: (request, context) => listDocuments(index, request, context),
    deleteDocument: (request, context) => deleteDocument(index, request, context),
    search: (request, context) => search.run(request, context),
    watchLibrary: (request, context) => watchLibrary(index, request, context),
    rollbackGeneration: (request, context) => rollbackGeneration(index, request, context),
  };
}

async function createLibrary(
  index: IndexClient,
  request: CreateLibraryRequest,
  context: GatewayContext,
): Promise<CreateLibraryResponse> {
  const violations = checkCreateLibrary(request, PROVIDERS);
  if (violations.length > 0) throw invalidArgument(violations);
  checkMayCreate(request, context.principal);
  const libraryId = request.libraryId || uuidv7();
  const asked = request.indexConfig;
  const complete = {
    libraryId,
    name: request.name || libraryId,
    embedding: completeEmbeddingConfig(request.embedding),
    indexType: request.indexType || "hnsw",
    indexConfig: {
      metric: asked?.metric || "cos",
      scalar: asked?.scalar || "bf16",
      connectivity: asked?.connectivity || 16,
      expansionAdd: asked?.expansionAdd || 128,
      expansionSearch: asked?.expansionSearch || 64,
    },
  };
  const { stub } = index;
  const { library } = await unary(stub, stub.createLibrary, complete, context);
  return { library };
}

async function getLibrary(
  index: IndexClient,
  { libraryId }: GetLibraryRequest,
  context: GatewayContext,
): Promise<GetLibraryResponse> {
  if (!isName(libraryId)) throw notFound("library", libraryId);
  const { stub } = index;
  const request = { libraryId, visibleLibraries: visibleLibraries(context.principal) };
  const { library } = await unary(stub, stub.getLibrary, request, context);
  return { library };
}

async function listLibraries(
  index: IndexClient,
  request: ListLibrariesRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const violations = checkListLibraries(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const page = {
    pageSize: pageSizeOf(request.pageSize),
    pageToken: request.pageToken,
    visibleLibraries: visibleLibraries(context.principal),
  };
  const bytes = Buffer.from(IndexListLibraries.encode(page).finish());
  return index.call(IndexServiceService.listLibraries, bytes, context);
}

async function deleteLibrary(
  index: IndexClient,
  request: DeleteLibraryRequest,
  context: GatewayContext,
): Promise<DeleteLibraryResponse> {
  const libraryId = await seenLibrary(index, request.libraryId, context);
  const { stub } = index;
  try {
    return await unary(stub, stub.deleteLibrary, { libraryId }, context);
  } finally {
    index.forget(request.libraryId);
    index.forget(libraryId);
  }
}

async function getDocument(
  index: IndexClient,
  request: GetDocumentRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const { documentId, includeVectors } = request;
  const libraryId = await seenLibrary(index, request.libraryId, context);
  if (!isDocumentId(documentId)) throw notFound("document", documentId);
  const bytes = IndexGetDocument.encode({ libraryId, documentId, includeVectors }).finish();
  return index.call(IndexServiceService.getDocument, Buffer.from(bytes), context);
}

async function listDocuments(
  index: IndexClient,
  request: ListDocumentsRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const violations = checkListDocuments(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const { filter, pageToken, includeTexts } = request;
  const libraryId = await seenLibrary(index, request.libraryId, context);
  const pageSize = pageSizeOf(request.pageSize);
  const page = { libraryId, filter, pageSize, pageToken, includeTexts };
  const bytes = Buffer.from(IndexListDocuments.encode(page).finish());
  return index.call(IndexServiceService.listDocuments, bytes, context);
}

async function deleteDocument(
  index: IndexClient,
  request: DeleteDocumentRequest,
  context: GatewayContext,
): Promise<DeleteDocumentResponse> {
  const { documentId } = request;
  const libraryId = await seenLibrary(index, request.libraryId, context);
  if (!isDocumentId(documentId)) throw notFound("document", documentId);
  const { stub } = index;
  const deletion = DeleteDocumentsRequest.fromPartial({ libraryId, documentIds: [documentId] });
  const { missingIds } = await unary(stub, stub.deleteDocuments, deletion, context);
  if (missingIds.length > 0) throw notFound("document", documentId);
  return {};
}

/** A name that others could take for an id of theirs, or find taken, would tell of libraries that the caller doesn't see. */
function checkMayCreate({ libraryId, name }: CreateLibraryRequest, principal: Principal): void {
  const { libraries } = principal;
  if (libraries === undefined) return;
  if (sees(principal, libraryId) && (name === "" || sees(principal, name))) return;
  const patterns = libraries.map((pattern) => JSON.stringify(pattern)).join(", ");
  const message = `the id, which is needed, and the name must be among ${patterns || "none"}: what this client is confined to`;
  throw new ArrwError("PERMISSION_DENIED", message, { reason: "LIBRARY_NOT_ALLOWED" });
}
