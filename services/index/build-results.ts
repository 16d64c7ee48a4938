import type { Build, BuildFailure } from "./build.ts";
import type { BuildFigures, BuildKind, BuildResultRow } from "./build-rows.ts";
import type { FenceClaim } from "./library-writer.ts";
import type { GenerationRow } from "./store.ts";
import type { Progress } from "./vector-protocol.ts";

/** What builds came to, as it is kept. */

export function swapped(build: Build, vectors: number): BuildResultRow {
  const { figures, row } = build;
  const result = resultOf(row, build.generation.row, vectors);
  return { ...result, outcome: "swapped", ...(figures ? { figures: { ...figures, vectors } } : {}) };
}

export function failed(
  build: { readonly row: Build["row"]; readonly figures?: BuildFigures | undefined },
  generation: GenerationRow,
  failure: BuildFailure,
): BuildResultRow {
  const { figures, row } = build;
  return {
    ...resultOf(row, generation, 0),
    outcome: "failed",
    errorCode: failure.code,
    errorMessage: failure.message,
    ...(figures ? { figures } : {}),
  };
}

/** @param live stays as it is @param diskBytes of its file */
export function notNeeded(
  claim: FenceClaim,
  kind: BuildKind,
  live: GenerationRow,
  progress: Progress,
  diskBytes: number,
): BuildResultRow {
  const row = { lease: claim.lease.toString(), kind, startedAtMs: Date.now() };
  const { size, tombstones, indexBytes } = progress;
  const figures: BuildFigures = {
    oldIndexType: live.indexType,
    newIndexType: live.indexType,
    vectors: size,
    tombstones,
    recallAt10: 0,
    oldRecallAt10: 0,
    sampleQueries: 0,
    oldSearchP50Ms: 0,
    oldSearchP99Ms: 0,
    newSearchP50Ms: 0,
    newSearchP99Ms: 0,
    oldMemoryBytes: indexBytes,
    newMemoryBytes: indexBytes,
    oldDiskBytes: diskBytes,
    newDiskBytes: diskBytes,
    buildSeconds: 0,
    predictedMemoryBytes: 0,
  };
  return { ...resultOf(row, live, size), outcome: "not_needed", figures };
}

function resultOf(
  row: Pick<Build["row"], "lease" | "kind" | "startedAtMs">,
  generation: GenerationRow,
  vectors: number,
): Omit<BuildResultRow, "outcome"> {
  const { lease, kind, startedAtMs } = row;
  const { generation: number, embedding, embeddingId } = generation;
  const what = { generation: number, embedding, embeddingId, vectors };
  return { lease, kind, startedAtMs, atMs: Date.now(), ...what, errorCode: "", errorMessage: "" };
}
