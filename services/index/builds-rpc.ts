import { type ImplementedService, implement } from "../../platform/grpc/server.ts";
import { BuildServiceService, type StartBuildRequest } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import type { BuildRequest } from "./build-plan.ts";
import { MAX_PAGE_CHUNKS } from "./build-vectors.ts";
import { kindOf } from "./build-view.ts";
import { METRICS } from "./domain/score.ts";
import type { Libraries } from "./libraries.ts";
import type { IndexShape } from "./store.ts";
import { MAX_DIMENSIONS, SCALARS } from "./usearch-index.ts";
import { Checks, INDEX_TYPES, requiredFence } from "./validate.ts";

const DEFAULT_MIN_RECALL = 0.95;

/** The gRPC face of builds and generations. */
export function buildService(libraries: Libraries): ImplementedService {
  return implement(BuildServiceService, {
    startBuild: async (request) => {
      const claim = requiredFence(request.fence);
      const asked = checkedBuild(request);
      return {
        build: await libraries.use(request.libraryId, (library) => library.builds.start(claim, asked)),
      };
    },
    getBuild: async ({ libraryId, fence }) => {
      const claim = requiredFence(fence);
      return { build: await libraries.use(libraryId, (library) => library.builds.get(claim)) };
    },
    readBuildChunks: async ({ libraryId, fence, limit, afterKey }) => {
      const claim = requiredFence(fence);
      const checks = new Checks();
      checks.integer("limit", limit, 1, MAX_PAGE_CHUNKS);
      const after = checkedKey("after_key", afterKey, checks);
      checks.done();
      const page = await libraries.use(libraryId, (library) =>
        library.builds.readChunks(claim, limit, after),
      );
      return { chunks: page.chunks, throughKey: BigInt(page.throughKey) };
    },
    writeBuildVectors: async ({ libraryId, fence, throughKey, keys, vectors }) => {
      const claim = requiredFence(fence);
      const checks = new Checks();
      const through = checkedKey("through_key", throughKey, checks);
      checks.done();
      // One that is no number is in no order either.
      const numbers = keys.map(Number);
      const build = await libraries.use(libraryId, (library) =>
        library.builds.writeVectors(claim, through, numbers, vectors),
      );
      return { build };
    },
    swapBuild: async ({ libraryId, fence }) => {
      const claim = requiredFence(fence);
      return libraries.use(libraryId, (library) => library.builds.swap(claim));
    },
    dropBuild: async ({ libraryId, fence }) => {
      const claim = requiredFence(fence);
      await libraries.use(libraryId, (library) => library.builds.drop(claim));
      return {};
    },
    rollbackGeneration: ({ libraryId }) =>
      libraries.use(libraryId, async (library) => {
        await library.builds.rollback();
        return { library: await library.message() };
      }),
  });
}

function checkedKey(field: string, key: bigint, checks: Checks): number {
  checks.that(
    key >= 0n && key <= BigInt(Number.MAX_SAFE_INTEGER),
    field,
    `0..${Number.MAX_SAFE_INTEGER}, got ${key}`,
  );
  return Number(key);
}

/** @throws INVALID_ARGUMENT with all violations */
function checkedBuild(request: StartBuildRequest): BuildRequest {
  const checks = new Checks();
  const kind = kindOf(request.kind);
  checks.that(kind !== undefined, "kind", "a rebuild, an optimize or a regenerate");
  const { minRecall, submittedAt, run } = request;
  checks.that(minRecall >= 0 && minRecall <= 1, "min_recall", `0..1, got ${minRecall}`);
  checks.integer("run", run, 0, 2 ** 31 - 1);
  const shape = kind === "rebuild" ? checkedShape(request, checks) : {};
  const embedding = kind === "regenerate" ? checkedEmbedding(request, checks) : undefined;
  checks.done();
  return {
    kind: kind as BuildRequest["kind"],
    run,
    shape,
    embedding,
    minRecall: minRecall || DEFAULT_MIN_RECALL,
    submittedAtMs: submittedAt?.getTime() ?? Number.POSITIVE_INFINITY,
  };
}

function checkedShape({ indexType, indexConfig }: StartBuildRequest, checks: Checks): BuildRequest["shape"] {
  const shape: { -readonly [K in keyof IndexShape]?: IndexShape[K] } = {};
  if (indexType !== "" && checks.oneOf("index_type", indexType, INDEX_TYPES)) shape.indexType = indexType;
  if (!indexConfig) return shape;
  const { metric, scalar, connectivity, expansionAdd, expansionSearch } = indexConfig;
  if (metric !== "" && checks.oneOf("index_config.metric", metric, METRICS)) shape.metric = metric;
  if (scalar !== "" && checks.oneOf("index_config.scalar", scalar, SCALARS)) shape.scalar = scalar;
  if (connectivity !== 0 && checks.integer("index_config.connectivity", connectivity, 2, 128))
    shape.connectivity = connectivity;
  if (expansionAdd !== 0 && checks.integer("index_config.expansion_add", expansionAdd, 1, 10_000))
    shape.expansionAdd = expansionAdd;
  if (expansionSearch !== 0 && checks.integer("index_config.expansion_search", expansionSearch, 1, 10_000))
    shape.expansionSearch = expansionSearch;
  return shape;
}

function checkedEmbedding({ embedding }: StartBuildRequest, checks: Checks): BuildRequest["embedding"] {
  if (!embedding) return undefined;
  const { provider, model, dimensions } = embedding;
  checks.that(provider !== "" && Buffer.byteLength(provider) <= 256, "embedding.provider", "1..256 bytes");
  checks.that(Buffer.byteLength(model) <= 256, "embedding.model", "at most 256 bytes");
  checks.integer("embedding.dimensions", dimensions, 1, MAX_DIMENSIONS);
  return { provider, model, dimensions };
}
