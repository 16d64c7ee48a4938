import { setImmediate as nextTurn } from "node:timers/promises";
import { exactSearch } from "usearch";
import { distanceOf } from "./domain/score.ts";
import { isWithin } from "./domain/vector-bounds.ts";
import { METRIC_KINDS } from "./usearch-index.ts";
import type { VectorIndex } from "./vector-index.ts";
import type { ProbeAnswer, Sample } from "./vector-protocol.ts";

/**
 * Measures an index in its thread: a sample of stored vectors as queries, their true neighbours by brute force, what a
 * search finds, and how long it takes. Searches and adds come in between.
 */

/** Queries on one block before others have their turn. */
const QUERIES_A_TURN = 8;
/** True neighbours kept beyond those needed: some may be removed before they are compared. */
const SPARE = 22;

/** Up to `count` keys that are stored, spread over all of them; the same ones for the same library and seed. */
export function sampleKeys(index: VectorIndex, count: number, seed: number): number[] {
  const { lastKey, vectors } = index;
  const keys = new Set<number>();
  let state = seed >>> 0;
  for (let tries = 0; tries < 2 * count && keys.size < count; tries++) {
    // A multiplicative congruential step is random enough to pick places.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const from = 1 + Math.floor((state / 2 ** 32) * lastKey);
    for (const key of vectors.getKeys({ start: from, end: lastKey + 1, limit: 1 })) keys.add(key);
  }
  return [...keys];
}

/**
 * The true neighbours of stored vectors, by one pass over all vectors.
 * @param budgetMs fewer keys are looked at when all of them would take longer, but no fewer than `least`
 */
export async function trueNeighbours(
  index: VectorIndex,
  keys: readonly number[],
  k: number,
  budgetMs: number,
  least: number,
): Promise<Sample> {
  const { dimensions, metric } = index.spec.parameters;
  let queries = keys.flatMap((key) => {
    const row = index.vector(key);
    return row ? [{ key, vector: row.slice(), near: [] as { key: number; distance: number }[] }] : [];
  });
  const numbers = index.blocks.numbers(1, index.lastKey);
  const count = k + SPARE;
  const until = performance.now() + budgetMs;
  for (const [i, number] of numbers.entries()) {
    const began = performance.now();
    const block = index.blocks.passing(number);
    const rows = block.rows.subarray(0, block.count * dimensions);
    for (const [n, query] of queries.entries()) {
      if (block.count === 0) break;
      const wanted = Math.min(count, block.count);
      const found = exactSearch(rows, query.vector, dimensions, wanted, METRIC_KINDS[metric], 1);
      found.keys.forEach((row, place) => {
        const key = block.keys[Number(row)] as number;
        if (key !== query.key) query.near.push({ key, distance: found.distances[place] as number });
      });
      query.near.sort((a, b) => a.distance - b.distance).splice(count);
      if (n % QUERIES_A_TURN === QUERIES_A_TURN - 1) await pause(index);
    }
    await pause(index);
    const expected = (performance.now() - began) * (numbers.length - i - 1);
    const left = until - performance.now();
    if (expected > left && expected > 0)
      queries = queries.slice(0, Math.max(least, Math.floor((queries.length * left) / expected)));
    index.catchUp();
  }
  const near = new Float64Array(queries.length * count);
  queries.forEach((query, n) => {
    near.set(
      query.near.map((each) => each.key),
      n * count,
    );
  });
  return { keys: Float64Array.from(queries, ({ key }) => key), near, perKey: count };
}

/** Searches for stored vectors as a client would, until the time is up. */
export async function probe(
  index: VectorIndex,
  keys: Float64Array,
  k: number,
  ef: number,
  budgetMs: number,
): Promise<ProbeAnswer> {
  const found = new Float64Array(keys.length * (k + 1));
  const ms: number[] = [];
  const until = performance.now() + budgetMs;
  for (const [n, key] of keys.entries()) {
    const vector = index.vector(key)?.slice();
    if (vector) {
      const began = performance.now();
      const result = await index.search({ mode: "hnsw", vector, k: k + 1, ef });
      ms.push(performance.now() - began);
      found.set(result.keys, n * (k + 1));
    }
    await pause(index);
    if (performance.now() > until) return { found, probed: n + 1, ms: Float64Array.from(ms) };
  }
  return { found, probed: keys.length, ms: Float64Array.from(ms) };
}

/**
 * Share of the k true neighbours that were found. Who is as near as the last of them counts as one: equal texts have
 * equal vectors.
 */
export function recallOf(index: VectorIndex, sample: Sample, answer: ProbeAnswer, k: number): number {
  const { metric } = index.spec.parameters;
  let wanted = 0;
  let hits = 0;
  for (let n = 0; n < answer.probed; n++) {
    const key = sample.keys[n] as number;
    const vector = index.vector(key)?.slice();
    if (!vector) continue;
    const distances = (keys: Float64Array): number[] =>
      [...keys]
        .flatMap((each) => {
          const row = each === 0 || each === key ? undefined : index.vector(each);
          return row ? [distanceOf(metric, vector, row)] : [];
        })
        .sort((a, b) => a - b)
        .slice(0, k);
    const near = distances(sample.near.subarray(n * sample.perKey, (n + 1) * sample.perKey));
    const radius = near.at(-1);
    if (radius === undefined) continue;
    const found = distances(answer.found.subarray(n * (k + 1), (n + 1) * (k + 1)));
    wanted += near.length;
    hits += Math.min(near.length, found.filter((distance) => distance <= radius + 1e-9).length);
  }
  return wanted === 0 ? 1 : hits / wanted;
}

/** A key whose vector has a value beyond what may be; 0 = none. */
export async function keyBeyond(index: VectorIndex, max: number): Promise<number> {
  for (const number of index.blocks.numbers(1, index.lastKey)) {
    const block = index.blocks.passing(number);
    for (let row = 0; row < block.count; row++)
      if (!isWithin(index.blocks.rowAt(block, row), max)) return block.keys[row] as number;
    await pause(index);
    index.catchUp();
  }
  return 0;
}

/** Lets others have their turn. @throws when the index is closed by then */
async function pause(index: VectorIndex): Promise<void> {
  await nextTurn();
  index.assertOpen();
}
