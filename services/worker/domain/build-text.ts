import { type Build, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";

/** A build in words and numbers, for those who watch its job. */

export interface BuildProgress {
  /** Vectors in the new index. */
  readonly current: number;
  readonly total: number;
  readonly message: string;
}

/** Vectors count as done when the new index has them: they never are before their texts are embedded. */
export function buildProgress(build: Build): BuildProgress {
  const total = Math.max(Number(build.vectorsTotal), Number(build.chunksTotal));
  const current = Math.min(Number(build.vectorsDone), total);
  return { current, total, message: message(build, current, total) };
}

function message(build: Build, current: number, total: number): string {
  const { phase, chunksEmbedded, chunksTotal } = build;
  switch (phase) {
    case BuildPhase.BUILD_PHASE_EMBEDDING:
      return `embedding ${grouped(chunksEmbedded)} of ${grouped(chunksTotal)} chunks`;
    case BuildPhase.BUILD_PHASE_BUILDING:
      return `building ${grouped(current)} of ${grouped(total)} vectors`;
    case BuildPhase.BUILD_PHASE_VERIFYING:
      return "measuring recall and latency";
    case BuildPhase.BUILD_PHASE_READY:
      return "catching up with the library, about to swap";
    case BuildPhase.BUILD_PHASE_SWAPPED:
      return `generation ${build.generation} answers searches`;
    case BuildPhase.BUILD_PHASE_NOT_NEEDED:
      return "nothing to optimize";
    default:
      return "";
  }
}

/** "0.987 (0.979 before)"; the old index has no figure when its embedding differs. */
export function recallText(build: Build): string {
  const { figures } = build;
  if (!figures || figures.sampleQueries === 0) return "not measured, there are no vectors";
  const before = figures.oldRecallAt10 > 0 ? ` (${figures.oldRecallAt10.toFixed(3)} before)` : "";
  return `${figures.recallAt10.toFixed(3)}${before} on ${figures.sampleQueries} queries`;
}

function grouped(value: bigint | number): string {
  return value.toLocaleString("en-US");
}
