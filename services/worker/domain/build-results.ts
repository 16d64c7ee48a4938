import { type Build, BuildFigures, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type {
  IndexOptimizeResult,
  IndexRebuildResult,
  RegenerateEmbeddingsResult,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";

/** What jobs say of the build that they made. */

const NO_FIGURES = BuildFigures.fromPartial({});

export function rebuildResult({ figures = NO_FIGURES, generation }: Build): IndexRebuildResult {
  return {
    oldIndexType: figures.oldIndexType,
    newIndexType: figures.newIndexType,
    vectorsReindexed: figures.vectors,
    recallAt10: figures.recallAt10,
    oldRecallAt10: figures.oldRecallAt10,
    sampleQueries: figures.sampleQueries,
    oldSearchP50Ms: figures.oldSearchP50Ms,
    oldSearchP99Ms: figures.oldSearchP99Ms,
    newSearchP50Ms: figures.newSearchP50Ms,
    newSearchP99Ms: figures.newSearchP99Ms,
    oldMemoryBytes: figures.oldMemoryBytes,
    newMemoryBytes: figures.newMemoryBytes,
    oldDiskBytes: figures.oldDiskBytes,
    newDiskBytes: figures.newDiskBytes,
    buildSeconds: figures.buildSeconds,
    generation,
  };
}

/** @param live the generation that answers searches if the build was not needed */
export function optimizeResult(build: Build, live: bigint): IndexOptimizeResult {
  const { phase, figures = NO_FIGURES, generation } = build;
  if (phase === BuildPhase.BUILD_PHASE_NOT_NEEDED) {
    return {
      vectorsCompacted: 0n,
      memoryFreedBytes: 0n,
      diskFreedBytes: 0n,
      tombstonesDropped: 0n,
      recallAt10: 0,
      buildSeconds: 0,
      generation: generation > live ? generation : live,
    };
  }
  return {
    vectorsCompacted: figures.vectors,
    memoryFreedBytes: figures.oldMemoryBytes - figures.newMemoryBytes,
    diskFreedBytes: figures.oldDiskBytes - figures.newDiskBytes,
    tombstonesDropped: figures.tombstones,
    recallAt10: figures.recallAt10,
    buildSeconds: figures.buildSeconds,
    generation,
  };
}

/** Where the vectors of a regenerate came from. */
export interface EmbeddingCounts {
  /** Chunks that the provider embedded. */
  readonly reembedded: number;
  /** Chunks whose vector was known. */
  readonly reused: number;
}

export function regenerateResult(build: Build, counts: EmbeddingCounts): RegenerateEmbeddingsResult {
  const { figures = NO_FIGURES, embedding, generation } = build;
  return {
    chunksReembedded: BigInt(counts.reembedded),
    embeddingsReused: BigInt(counts.reused),
    recallAt10: figures.recallAt10,
    embedding,
    buildSeconds: figures.buildSeconds,
    generation,
  };
}

export const NO_COUNTS: EmbeddingCounts = { reembedded: 0, reused: 0 };

export function encodeCounts({ reembedded, reused }: EmbeddingCounts): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ reembedded, reused }));
}

/** Of a checkpoint; bytes that are none count as none: the index holds what matters. */
export function decodeCounts(bytes: Uint8Array): EmbeddingCounts {
  if (bytes.length === 0) return NO_COUNTS;
  try {
    const { reembedded, reused } = JSON.parse(new TextDecoder().decode(bytes)) as Partial<EmbeddingCounts>;
    return { reembedded: counted(reembedded), reused: counted(reused) };
  } catch {
    return NO_COUNTS;
  }
}

function counted(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : 0;
}

/**
 * The counts as of a build that is taken up: what it has and nobody counted was embedded after the last checkpoint. A
 * build that begins anew counts anew.
 */
export function countsAsOf(counts: EmbeddingCounts, { chunksEmbedded }: Build): EmbeddingCounts {
  const embedded = Number(chunksEmbedded);
  if (embedded === 0) return NO_COUNTS;
  const uncounted = Math.max(0, embedded - counts.reembedded - counts.reused);
  return { reembedded: counts.reembedded + uncounted, reused: counts.reused };
}
