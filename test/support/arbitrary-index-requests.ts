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
  type DocumentUpsert,
  EndLeaseRequest,
  GetDocumentRequest,
  GetLibraryRequest,
  IndexServiceService,
  ListDocumentsRequest,
  ListLibrariesRequest,
  LocateDocumentsRequest,
  SearchRequest,
  UpsertDocumentsRequest,
} from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { Document, Filter } from "../../proto/gen/arrwdb/v1/document.ts";
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
  /** Open, with this pin. */
  readonly exportId: string;
  readonly pin: bigint;
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
  return mostlyOf(fc.constantFrom(...sensible), other);
}

function mostlyOf<T>(sensible: fc.Arbitrary<T>, other: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: 12, arbitrary: sensible }, { weight: 1, arbitrary: other });
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
  const fence = fc.record({ jobId: mostly([jobId], anyText), lease: mostly([1n], anyInt64) });
  const vectors = (count: number) =>
    fc
      .array(fc.nat({ max: 50 }), { minLength: count, maxLength: count })
      .map((seeds) => packed(...seeds.map((seed) => seededVector(seed, dimensions))));
  return {
    library: mostly([libraryId, libraryId, libraryId, libraryId, ...PASSING], anyText),
    embedding: mostly([embeddingId], anyText),
    document: mostly(documentIds, anyText),
    fence: fc.option(fence, { nil: undefined }),
    vectors,
    filter: mostly([undefined, GOOD_FILTER], anyFilter),
    pageSize: mostly([1, 50, 1_000], anyInt32),
    pageToken: mostly([""], anyText),
  };
}

const GOOD_FILTER: Filter = { all: [{ field: "title", test: { $case: "exists", value: true } }] };
const GOOD_CONFIG = {
  metric: "cos",
  scalar: "bf16",
  connectivity: 16,
  expansionAdd: 64,
  expansionSearch: 64,
};
const GOOD_EMBEDDING = { provider: "none", model: "", dimensions: 3 };
const GOOD_DOCUMENT: Document = {
  documentId: "",
  title: "title",
  texts: ["one", "two"],
  metadata: { a: 1 },
  author: "",
  tags: ["t"],
  vectors: [],
  sourceUrl: "",
};

/** Mostly such that all libraries are seen. */
function visibleLibraries(): fc.Arbitrary<string[]> {
  return mostlyOf<string[]>(fc.constantFrom([], ["*"]), fc.array(anyText, { maxLength: 2 }));
}

function ofLibraries(known: Known) {
  const { library, fence, pageSize, pageToken } = valuesOf(known);
  const named = mostly<string>(PASSING, anyText).chain((id) =>
    fc.record({ libraryId: fc.constant(id), name: mostly([id], anyText) }),
  );
  const config = fc.record({
    embedding: mostly([GOOD_EMBEDDING], anyEmbedding),
    indexType: mostly(["hnsw", "flat"], anyText),
    indexConfig: mostly([GOOD_CONFIG], anyIndexConfig),
  });
  const created = fc.tuple(named, config).map(([names, rest]) => ({ ...names, ...rest }));
  const lease = fc.record({ libraryId: library, fence });
  const visible = visibleLibraries();
  // The known one is for all that follows.
  const passing = fc.oneof(fc.constantFrom(...PASSING), anyText).filter((id) => id !== known.libraryId);
  return {
    [IndexServiceService.createLibrary.path]: requests(CreateLibraryRequest, created),
    [IndexServiceService.getLibrary.path]: requests(
      GetLibraryRequest,
      fc.record({ libraryId: library, visibleLibraries: visible }),
    ),
    [IndexServiceService.listLibraries.path]: requests(
      ListLibrariesRequest,
      fc.record({ pageSize, pageToken, visibleLibraries: visible }),
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
  const { library, embedding, document, fence, vectors, filter, pageSize, pageToken } = valuesOf(known);
  const good = fc.record({
    document: document.map((documentId) => ({ ...GOOD_DOCUMENT, documentId })),
    vectors: mostlyOf(vectors(GOOD_DOCUMENT.texts.length), anyBytes),
  });
  const bad = fc.record({ document: fc.option(anyDocument, { nil: undefined }), vectors: vectors(1) });
  return {
    [IndexServiceService.getDocument.path]: requests(
      GetDocumentRequest,
      fc.record({ libraryId: library, documentId: document, includeVectors: fc.boolean() }),
    ),
    [IndexServiceService.listDocuments.path]: requests(
      ListDocumentsRequest,
      fc.record({
        libraryId: library,
        filter,
        pageSize,
        pageToken,
        includeTexts: fc.boolean(),
      }),
    ),
    [IndexServiceService.upsertDocuments.path]: requests(
      UpsertDocumentsRequest,
      fc.record({
        libraryId: library,
        fence,
        embeddingId: embedding,
        documents: fc.array(mostlyOf<DocumentUpsert>(good, bad), { maxLength: 3 }),
      }),
    ),
    [IndexServiceService.deleteDocuments.path]: requests(
      DeleteDocumentsRequest,
      fc.record({ libraryId: library, fence, documentIds: fc.array(document, { maxLength: 3 }) }),
    ),
    [IndexServiceService.locateDocuments.path]: requests(
      LocateDocumentsRequest,
      fc.record({
        libraryIds: fc.array(library, { maxLength: 3 }),
        visibleLibraries: visibleLibraries(),
        documentIds: fc.array(document, { maxLength: 3 }),
        pageToken: mostly([""], anyText),
        firstOnly: fc.boolean(),
      }),
    ),
    [IndexServiceService.search.path]: requests(
      SearchRequest,
      fc.record({
        libraryId: library,
        embeddingId: embedding,
        vector: mostlyOf(vectors(1), anyBytes),
        k: mostly([1, 10], anyInt32),
        efSearch: mostly([0, 64], anyInt32),
        filter,
        includeText: fc.boolean(),
        exact: fc.boolean(),
      }),
    ),
  };
}

function ofBuilds(known: Known) {
  const { library, fence, vectors } = valuesOf(known);
  const own = { libraryId: library, fence };
  const start = fc.record({
    ...own,
    kind: mostly([1, 2, 3], anyInt32) as fc.Arbitrary<1>,
    indexType: mostly(["", "hnsw", "flat"], anyText),
    indexConfig: mostly([undefined, GOOD_CONFIG], anyIndexConfig),
    embedding: mostly([undefined, GOOD_EMBEDDING], anyEmbedding),
    minRecall: mostly([0, 0.5], anyDouble),
    submittedAt: anyTime,
    run: mostly([1], anyInt32),
  });
  const write = fc.record({
    ...own,
    throughKey: anyInt64,
    keys: fc.array(anyInt64, { maxLength: 4 }),
    vectors: mostlyOf(vectors(2), anyBytes),
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
  const hashes = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
  const exported = { libraryId: library, exportId: mostly([known.exportId], anyText) };
  const pin = mostly([known.pin], anyInt64);
  const read = fc.record({
    ...exported,
    after: mostlyOf(fc.constant(""), document),
    includeVectors: fc.boolean(),
    pin,
    letGo: mostlyOf(fc.constant(""), document),
  });
  return {
    [ChangeServiceService.watchChanges.path]: requests(
      WatchChangesRequest,
      fc.record({ libraryId: library, afterCursor: mostly(["", known.cursor], anyText) }),
    ),
    [EmbeddingServiceService.lookupEmbeddings.path]: requests(
      LookupEmbeddingsRequest,
      fc.record({ libraryId: library, embeddingId: embedding, hashes: mostlyOf(hashes, anyBytes) }),
    ),
    [ExportServiceService.openExport.path]: requests(OpenExportRequest, fc.record(exported)),
    [ExportServiceService.readExport.path]: requests(ReadExportRequest, read),
    [ExportServiceService.closeExport.path]: requests(CloseExportRequest, fc.record({ ...exported, pin })),
  };
}
