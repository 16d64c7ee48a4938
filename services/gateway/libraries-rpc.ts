import { v7 as uuidv7 } from "uuid";
import { completeEmbeddingConfig, PROVIDERS } from "../../platform/embedding/create-provider.ts";
import type { CreateProvider } from "../../platform/embedding/provider.ts";
import { invalidArgument, notFound } from "../../platform/errors.ts";
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
import { isDocumentId, isName } from "./domain/validation/ids.ts";
import { checkCreateLibrary, checkListDocuments, checkListLibraries } from "./domain/validation/library.ts";
import { pageSizeOf } from "./domain/validation/paging.ts";
import type { GatewayContext } from "./guard.ts";
import type { IndexClient } from "./index-client.ts";
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
  checkLibraryId(libraryId);
  const { stub } = index;
  const { library } = await unary(stub, stub.getLibrary, { libraryId }, context);
  return { library };
}

async function listLibraries(
  index: IndexClient,
  request: ListLibrariesRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const violations = checkListLibraries(request);
  if (violations.length > 0) throw invalidArgument(violations);
  const page = { pageSize: pageSizeOf(request.pageSize), pageToken: request.pageToken };
  const bytes = Buffer.from(IndexListLibraries.encode(page).finish());
  return index.call(IndexServiceService.listLibraries, bytes, context);
}

async function deleteLibrary(
  index: IndexClient,
  { libraryId }: DeleteLibraryRequest,
  context: GatewayContext,
): Promise<DeleteLibraryResponse> {
  checkLibraryId(libraryId);
  const { stub } = index;
  try {
    return await unary(stub, stub.deleteLibrary, { libraryId }, context);
  } finally {
    index.forget(libraryId);
  }
}

async function getDocument(
  index: IndexClient,
  request: GetDocumentRequest,
  context: GatewayContext,
): Promise<Buffer> {
  const { libraryId, documentId, includeVectors } = request;
  checkLibraryId(libraryId);
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
  const { libraryId, filter, pageToken, includeTexts } = request;
  checkLibraryId(libraryId);
  const pageSize = pageSizeOf(request.pageSize);
  const page = { libraryId, filter, pageSize, pageToken, includeTexts };
  const bytes = Buffer.from(IndexListDocuments.encode(page).finish());
  return index.call(IndexServiceService.listDocuments, bytes, context);
}

async function deleteDocument(
  index: IndexClient,
  { libraryId, documentId }: DeleteDocumentRequest,
  context: GatewayContext,
): Promise<DeleteDocumentResponse> {
  checkLibraryId(libraryId);
  if (!isDocumentId(documentId)) throw notFound("document", documentId);
  const { stub } = index;
  const request = DeleteDocumentsRequest.fromPartial({ libraryId, documentIds: [documentId] });
  const { missingIds } = await unary(stub, stub.deleteDocuments, request, context);
  if (missingIds.length > 0) throw notFound("document", documentId);
  return {};
}

function checkLibraryId(libraryId: string): void {
  if (!isName(libraryId)) throw notFound("library", libraryId);
}
