import type { Job } from "../client/index.ts";
import type { IndexRebuildResult } from "../proto/gen/arrwdb/v1/jobs.ts";
import { bytes, count, plural, table } from "./format.ts";

/** Results of jobs that build an index, in words. */

type Result = NonNullable<NonNullable<Job["result"]>["result"]>;

/** In one line; undefined = it is no such job's. */
export function buildResultText(result: Result): string | undefined {
  switch (result.$case) {
    case "indexRebuild": {
      const { vectorsReindexed, generation } = result.value;
      return `${plural(vectorsReindexed, "vector")}, ${recall(result.value)}, generation ${generation}`;
    }
    case "indexOptimize": {
      const { tombstonesDropped, buildSeconds, generation } = result.value;
      if (tombstonesDropped === 0n && buildSeconds === 0) return "nothing to optimize: no removed vectors";
      const { memoryFreedBytes, diskFreedBytes } = result.value;
      const freed = `${change(memoryFreedBytes)} in memory, ${change(diskFreedBytes)} on disk`;
      return `${plural(tombstonesDropped, "removed vector")} dropped, ${freed}, generation ${generation}`;
    }
    case "regenerateEmbeddings": {
      const { chunksReembedded, embeddingsReused, embedding, generation } = result.value;
      const reused = embeddingsReused > 0n ? `, ${count(embeddingsReused)} reused` : "";
      const by = embedding
        ? ` by ${embedding.provider} ${embedding.model}, ${embedding.dimensions} dimensions`
        : "";
      return `${plural(chunksReembedded, "chunk")} embedded${by}${reused}, generation ${generation}`;
    }
    default:
      return undefined;
  }
}

/** The figures of a rebuild, before and now; none for other jobs. */
export function buildFigureLines(job: Job): string[] {
  const result = job.result?.result;
  if (result?.$case !== "indexRebuild" || result.value.sampleQueries === 0) return [];
  const figures = result.value;
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const rows = [
    ["index", figures.oldIndexType, figures.newIndexType],
    ["recall@10", figures.oldRecallAt10.toFixed(3), figures.recallAt10.toFixed(3)],
    ["search p50", ms(figures.oldSearchP50Ms), ms(figures.newSearchP50Ms)],
    ["search p99", ms(figures.oldSearchP99Ms), ms(figures.newSearchP99Ms)],
    ["in memory", bytes(figures.oldMemoryBytes), bytes(figures.newMemoryBytes)],
    ["on disk", bytes(figures.oldDiskBytes), bytes(figures.newDiskBytes)],
  ];
  const sample = `measured on ${plural(figures.sampleQueries, "search")}, built in ${figures.buildSeconds.toFixed(1)} s`;
  return [...table(["", "BEFORE", "NOW"], rows), sample.replace("searchs", "searches")].map(
    (line) => `  ${line}`,
  );
}

function recall({ recallAt10, sampleQueries }: IndexRebuildResult): string {
  return sampleQueries === 0 ? "recall not measured" : `recall@10 ${recallAt10.toFixed(3)}`;
}

/** "1.2 MB less" */
function change(freed: bigint): string {
  return freed < 0n ? `${bytes(-freed)} more` : `${bytes(freed)} less`;
}
