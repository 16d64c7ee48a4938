import fc from "fast-check";
import {
  BuildServiceService,
  DropBuildRequest,
  GetBuildRequest,
  ReadBuildChunksRequest,
  RollbackGenerationRequest,
  StartBuildRequest,
  SwapBuildRequest,
  WriteBuildVectorsRequest,
} from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { ChangeServiceService, WatchChangesRequest } from "../../proto/gen/arrwdb/index/v1/changes.ts";
import {
  EmbeddingServiceService,
  LookupEmbeddingsRequest,
} from "../../proto/gen/arrwdb/index/v1/embeddings.ts";
import {
  CloseExportRequest,
  ExportServiceService,
  OpenExportRequest,
  ReadExportRequest,
} from "../../proto/gen/arrwdb/index/v1/exports.ts";
import {
  BeginLeaseRequest,
  CreateLibraryRequest,
  DeleteDocumentsRequest,
  DeleteLibraryRequest,
  EndLeaseRequest,
  GetDocumentRequest,
  GetLibraryRequest,
  IndexServiceService,
  ListDocumentsRequest,
  ListLibrariesRequest,
  SearchRequest,
  UpsertDocumentsRequest,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import {
  anyBytes,
  anyDocument,
  anyDouble,
  anyEmbedding,
  anyFilter,
  anyIndexConfig,
  anyInt32,
  anyText,
  anyTime,
  mutated,
} from "./arbitrary-requests.ts";
import { packed, seededVector } from "./index-service.ts";

/** Requests to the index's services, encoded; what the service knows is among their values. */

export interface Known {
  readonly libraryId: string;
  readonly embeddingId: string;
  readonly dimensions: number;
  readonly documentIds: readonly string[];
  /** Of its watch. */
  readonly cursor: string;
  /** A job that has begun lease 1 there. */
  readonly jobId: string;
}

/** All services of the index. A test goes through their methods: one without requests here is missed by it. */
export const INDEX_SERVICES = [
  IndexServiceService,
  BuildServiceService,
  ChangeServiceService,
  EmbeddingServiceService,
  ExportServiceService,
] as const;

type Encode<T> = { encode(message: T): { finish(): Uint8Array } };

function requests<T>(type: Encode<T>, message: fc.Arbitrary<T>): fc.Arbitrary<Buffer> {
  const bytes = message.map((value) => type.encode(value).finish());
  return fc.oneof(
    { weight: 2, arbitrary: bytes.map((each) => Buffer.from(each)) },
    { weight: 1, arbitrary: mutated(bytes) },
  );
}

/** Mostly one of those that make sense. */
function mostly<T>(sensible: readonly T[], other: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...sensible) }, { weight: 1, arbitrary: other });
}

const anyInt64 = mostly(
  [0n, 1n, 2n, 3n, 100n, -1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)],
  fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
);
/** Made and deleted as the test goes; the known library stays. */
const PASSING = ["p1", "p2", "p3"] as const;

export function arbitraryIndexRequests(known: Known): Readonly<Record<string, fc.Arbitrary<Buffer>>> {
  return { ...ofLibraries(known), ...ofDocuments(known), ...ofBuilds(known), ...ofOthers(known) };
}

function valuesOf({ libraryId, embeddingId, dimensions, documentIds, jobId }: Known) {
  const fence = fc.option(fc.record({ jobId: mostly([jobId], anyText), lease: mostly([1n], anyInt64) }), {
    nil: undefined,
  });
  const vectors = fc.array(fc.nat({ max: 50 }), { maxLength: 3 });
  return {
    library: mostly([libraryId, libraryId, ...PASSING], anyText),
    embedding: mostly([embeddingId], anyText),
    document: mostly(documentIds, anyText),
    fence,
    bytes: fc.oneof(
      vectors.map((seeds) => packed(...seeds.map((seed) => seededVector(seed, dimensions)))),
      anyBytes,
    ),
  };
}

function ofLibraries(known: Known) {
  const { library, fence } = valuesOf(known);
  const created = fc.record({
    libraryId: mostly(PASSING, anyText),
    name: mostly(PASSING, anyText),
    embedding: fc.oneof(fc.constant({ provider: "none", model: "", dimensions: 3 }), anyEmbedding),
    indexType: mostly(["hnsw", "flat"], anyText),
    indexConfig: anyIndexConfig,
  });
  const lease = fc.record({ libraryId: library, fence });
  // The known one is for all that follows.
  const passing = fc.oneof(fc.constantFrom(...PASSING), anyText).filter((id) => id !== known.libraryId);
  return {
    [IndexServiceService.createLibrary.path]: requests(CreateLibraryRequest, created),
    [IndexServiceService.getLibrary.path]: requests(GetLibraryRequest, fc.record({ libraryId: library })),
    [IndexServiceService.listLibraries.path]: requests(
      ListLibrariesRequest,
      fc.record({ pageSize: anyInt32, pageToken: anyText }),
    ),
    [IndexServiceService.deleteLibrary.path]: requests(
      DeleteLibraryRequest,
      fc.record({ libraryId: passing }),
    ),
    [IndexServiceService.beginLease.path]: requests(BeginLeaseRequest, lease),
    [IndexServiceService.endLease.path]: requests(EndLeaseRequest, lease),
  };
}

function ofDocuments(known: Known) {
  const { library, embedding, document, fence, bytes } = valuesOf(known);
  const upsert = fc.record({ document: fc.option(anyDocument, { nil: undefined }), vectors: bytes });
  return {
    [IndexServiceService.getDocument.path]: requests(
      GetDocumentRequest,
      fc.record({ libraryId: library, documentId: document, includeVectors: fc.boolean() }),
    ),
    [IndexServiceService.listDocuments.path]: requests(
      ListDocumentsRequest,
      fc.record({
        libraryId: library,
        filter: anyFilter,
        pageSize: anyInt32,
        pageToken: anyText,
        includeTexts: fc.boolean(),
      }),
    ),
    [IndexServiceService.upsertDocuments.path]: requests(
      UpsertDocumentsRequest,
      fc.record({
        libraryId: library,
        fence,
        embeddingId: embedding,
        documents: fc.array(upsert, { maxLength: 3 }),
      }),
    ),
    [IndexServiceService.deleteDocuments.path]: requests(
      DeleteDocumentsRequest,
      fc.record({ libraryId: library, fence, documentIds: fc.array(document, { maxLength: 3 }) }),
    ),
    [IndexServiceService.search.path]: requests(
      SearchRequest,
      fc.record({
        libraryId: library,
        embeddingId: embedding,
        vector: bytes,
        k: mostly([1, 10], anyInt32),
        efSearch: mostly([0, 64], anyInt32),
        filter: anyFilter,
        includeText: fc.boolean(),
        exact: fc.boolean(),
      }),
    ),
  };
}

function ofBuilds(known: Known) {
  const { library, fence, bytes } = valuesOf(known);
  const own = { libraryId: library, fence };
  const start = fc.record({
    ...own,
    kind: mostly([1, 2, 3], anyInt32) as fc.Arbitrary<1>,
    indexType: mostly(["", "hnsw", "flat"], anyText),
    indexConfig: anyIndexConfig,
    embedding: anyEmbedding,
    minRecall: anyDouble,
    submittedAt: anyTime,
    run: anyInt32,
  });
  const write = fc.record({
    ...own,
    throughKey: anyInt64,
    keys: fc.array(anyInt64, { maxLength: 4 }),
    vectors: bytes,
  });
  return {
    [BuildServiceService.startBuild.path]: requests(StartBuildRequest, start),
    [BuildServiceService.getBuild.path]: requests(GetBuildRequest, fc.record(own)),
    [BuildServiceService.readBuildChunks.path]: requests(
      ReadBuildChunksRequest,
      fc.record({ ...own, limit: mostly([1, 256], anyInt32), afterKey: anyInt64 }),
    ),
    [BuildServiceService.writeBuildVectors.path]: requests(WriteBuildVectorsRequest, write),
    [BuildServiceService.swapBuild.path]: requests(SwapBuildRequest, fc.record(own)),
    [BuildServiceService.dropBuild.path]: requests(DropBuildRequest, fc.record(own)),
    [BuildServiceService.rollbackGeneration.path]: requests(
      RollbackGenerationRequest,
      fc.record({ libraryId: library }),
    ),
  };
}

function ofOthers(known: Known) {
  const { library, embedding, document } = valuesOf(known);
  const exported = { libraryId: library, exportId: mostly([known.jobId], anyText) };
  const read = fc.record({
    ...exported,
    after: document,
    includeVectors: fc.boolean(),
    pin: anyInt64,
    letGo: document,
  });
  return {
    [ChangeServiceService.watchChanges.path]: requests(
      WatchChangesRequest,
      fc.record({ libraryId: library, afterCursor: mostly(["", known.cursor], anyText) }),
    ),
    [EmbeddingServiceService.lookupEmbeddings.path]: requests(
      LookupEmbeddingsRequest,
      fc.record({ libraryId: library, embeddingId: embedding, hashes: anyBytes }),
    ),
    [ExportServiceService.openExport.path]: requests(OpenExportRequest, fc.record(exported)),
    [ExportServiceService.readExport.path]: requests(ReadExportRequest, read),
    [ExportServiceService.closeExport.path]: requests(CloseExportRequest, fc.record(exported)),
  };
}
