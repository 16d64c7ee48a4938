import {
  BuildKind as BuildKindMessage,
  type Build as BuildMessage,
  BuildPhase as BuildPhaseMessage,
} from "../../proto/gen/arrwdb/index/v1/builds.ts";
import type { Build, BuildPhase } from "./build.ts";
import type { BuildFigures, BuildKind, BuildOutcome, BuildResultRow } from "./build-rows.ts";
import { readState, type Store } from "./store.ts";

const KINDS: Record<BuildKind, BuildKindMessage> = {
  rebuild: BuildKindMessage.BUILD_KIND_REBUILD,
  optimize: BuildKindMessage.BUILD_KIND_OPTIMIZE,
  regenerate: BuildKindMessage.BUILD_KIND_REGENERATE,
};

const PHASES: Record<BuildPhase | BuildOutcome, BuildPhaseMessage> = {
  embedding: BuildPhaseMessage.BUILD_PHASE_EMBEDDING,
  building: BuildPhaseMessage.BUILD_PHASE_BUILDING,
  verifying: BuildPhaseMessage.BUILD_PHASE_VERIFYING,
  ready: BuildPhaseMessage.BUILD_PHASE_READY,
  swapped: BuildPhaseMessage.BUILD_PHASE_SWAPPED,
  not_needed: BuildPhaseMessage.BUILD_PHASE_NOT_NEEDED,
  failed: BuildPhaseMessage.BUILD_PHASE_FAILED,
};

/** undefined = not one that can be asked for. */
export function kindOf(message: BuildKindMessage): BuildKind | undefined {
  return (Object.keys(KINDS) as BuildKind[]).find((kind) => KINDS[kind] === message);
}

/** A build as it is now. */
export function buildMessage(build: Build, store: Store): BuildMessage {
  const { row, generation, phase, failure, figures } = build;
  const { chunks } = readState(store);
  const regenerates = row.kind === "regenerate";
  const { entryCount } = store.vectors(generation.row.vectors).getStats() as { entryCount: number };
  return {
    jobId: row.jobId,
    lease: BigInt(row.lease),
    kind: KINDS[row.kind],
    phase: PHASES[failure ? "failed" : phase],
    generation: BigInt(row.generation),
    vectorsDone: BigInt(Math.min(chunks, generation.index?.progress.size ?? 0)),
    vectorsTotal: BigInt(chunks),
    chunksEmbedded: BigInt(regenerates ? entryCount : 0),
    chunksTotal: BigInt(regenerates ? chunks : 0),
    embedding: { ...generation.row.embedding },
    embeddingId: generation.row.embeddingId,
    errorCode: failure?.code ?? "",
    errorMessage: failure?.message ?? "",
    figures: figures && figuresMessage(figures),
  };
}

/** A build that has ended. */
export function resultMessage(jobId: string, result: BuildResultRow): BuildMessage {
  const vectors = BigInt(result.vectors);
  const embedded = result.kind === "regenerate" && result.outcome === "swapped" ? vectors : 0n;
  return {
    jobId,
    lease: BigInt(result.lease),
    kind: KINDS[result.kind],
    phase: PHASES[result.outcome],
    generation: BigInt(result.generation),
    vectorsDone: result.outcome === "failed" ? 0n : vectors,
    vectorsTotal: vectors,
    chunksEmbedded: embedded,
    chunksTotal: embedded,
    embedding: { ...result.embedding },
    embeddingId: result.embeddingId,
    errorCode: result.errorCode,
    errorMessage: result.errorMessage,
    figures: result.figures && figuresMessage(result.figures),
  };
}

function figuresMessage(figures: BuildFigures): BuildMessage["figures"] {
  return {
    ...figures,
    vectors: BigInt(figures.vectors),
    tombstones: BigInt(figures.tombstones),
    oldMemoryBytes: BigInt(figures.oldMemoryBytes),
    newMemoryBytes: BigInt(figures.newMemoryBytes),
    oldDiskBytes: BigInt(figures.oldDiskBytes),
    newDiskBytes: BigInt(figures.newDiskBytes),
    predictedMemoryBytes: BigInt(figures.predictedMemoryBytes),
  };
}
