import type { BuildFigures, BuildRow } from "./build-rows.ts";
import type { Generation } from "./generation.ts";
import type { LibraryIndex } from "./library-index.ts";
import { readSnapshot, type Store } from "./store.ts";
import type { ProbeAnswer } from "./vector-protocol.ts";

const K = 10;
/** Queries of a sample, and how few they may become in a library so large that brute force takes long. */
const QUERIES = 200;
const LEAST_QUERIES = 50;
/** Time for brute force: a share of what the build took, within bounds. */
const SAMPLE_SHARE = 0.04;
const LEAST_SAMPLE_MS = 300;
const MOST_SAMPLE_MS = 12_000;
const PROBE_MS = 6_000;

const NOTHING: ProbeAnswer = { found: new Float64Array(), probed: 0, ms: new Float64Array() };

/**
 * Measures a build beside the generation that it is to replace: the same stored vectors as queries of both.
 * @param live the one that answers when it is asked
 */
export async function measure(
  store: Store,
  row: BuildRow,
  built: { readonly generation: Generation; readonly index: LibraryIndex },
  live: () => Generation,
): Promise<Omit<BuildFigures, "buildSeconds">> {
  const { generation, index } = built;
  const tookMs = Date.now() - row.startedAtMs;
  const budgetMs = Math.min(MOST_SAMPLE_MS, Math.max(LEAST_SAMPLE_MS, SAMPLE_SHARE * tookMs));
  const request = { count: QUERIES, least: LEAST_QUERIES, budgetMs, seed: row.generation, k: K };
  const sample = await index.thread.sample(request);
  const { keys } = sample;
  const probed = (from: Generation, its: LibraryIndex): Promise<ProbeAnswer> =>
    keys.length === 0
      ? Promise.resolve(NOTHING)
      : its.thread.probe({ keys, k: K, ef: Math.max(K, from.row.expansionSearch), budgetMs: PROBE_MS });
  const recall = (answer: ProbeAnswer): Promise<number> => index.thread.recall({ sample, answer, k: K });
  const answer = await probed(generation, index);
  const recallAt10 = await recall(answer);
  // Not before: a rollback meanwhile closes the one that was live.
  const old = live();
  return old.use(async (oldIndex) => {
    const oldAnswer = await probed(old, oldIndex);
    const sameEmbedding = old.row.embeddingId === generation.row.embeddingId;
    const oldRecallAt10 = sameEmbedding ? await recall(oldAnswer) : 0;
    const [before, after] = [await oldIndex.look(), await index.look()];
    return {
      oldIndexType: old.row.indexType,
      newIndexType: generation.row.indexType,
      vectors: after.size,
      tombstones: before.tombstones,
      recallAt10,
      oldRecallAt10,
      sampleQueries: keys.length,
      oldSearchP50Ms: percentile(oldAnswer.ms, 0.5),
      oldSearchP99Ms: percentile(oldAnswer.ms, 0.99),
      newSearchP50Ms: percentile(answer.ms, 0.5),
      newSearchP99Ms: percentile(answer.ms, 0.99),
      oldMemoryBytes: before.indexBytes,
      newMemoryBytes: after.indexBytes,
      oldDiskBytes: readSnapshot(store, old.row.generation)?.bytes ?? 0,
      newDiskBytes: readSnapshot(store, row.generation)?.bytes ?? 0,
      predictedMemoryBytes: row.predictedBytes,
    };
  });
}

function percentile(values: Float64Array, share: number): number {
  const sorted = values.slice().sort();
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}
