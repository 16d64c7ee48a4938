import { textHash } from "../../platform/embedding/text-hash.ts";
import { invalidArgument } from "../../platform/errors.ts";
import type { BuildChunk } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { isWithin, largestValue } from "./domain/vector-bounds.ts";
import { lookUpEmbeddings, remembersTexts, rememberText } from "./embeddings.ts";
import { lastKeyOf } from "./generations.ts";
import { type GenerationRow, readState, type Store } from "./store.ts";
import { allFinite } from "./usearch-index.ts";

/** The texts of a build that needs vectors, and the vectors that come for them. */

export const MAX_PAGE_CHUNKS = 4_096;
const PAGE_BYTES = 2 * 1024 * 1024;

export interface ChunkPage {
  readonly chunks: BuildChunk[];
  /** Key of the last one; 0 = there are none. */
  readonly throughKey: number;
}

/**
 * The next chunks without a vector.
 * @param live what it is to replace: with the same embedding every vector is made anew
 */
export function readChunks(
  store: Store,
  target: GenerationRow,
  live: GenerationRow,
  limit: number,
  afterKey: number,
): ChunkPage {
  const after = Math.max(afterKey, lastKeyOf(store, target.vectors));
  const page: { readonly key: number; readonly text: string }[] = [];
  let bytes = 0;
  for (const { key, value } of store.chunks.getRange({ start: after + 1, limit })) {
    const [, , text] = value;
    page.push({ key, text });
    bytes += Buffer.byteLength(text);
    if (bytes >= PAGE_BYTES) break;
  }
  const known = knownVectors(store, target, live, page);
  const chunks = page.map(({ key, text }, n) => ({
    key: BigInt(key),
    text,
    vector: known.get(n) ?? Buffer.alloc(0),
  }));
  return { chunks, throughKey: page.at(-1)?.key ?? 0 };
}

/** Vectors that other generations have of the texts, by place in the page. */
function knownVectors(
  store: Store,
  target: GenerationRow,
  live: GenerationRow,
  page: readonly { readonly key: number; readonly text: string }[],
): Map<number, Buffer> {
  const others = [...store.generations.getRange()]
    .map(({ value }) => value)
    .filter((row) => row.embeddingId === target.embeddingId && row.vectors !== target.vectors);
  if (others.length === 0 || live.embeddingId === target.embeddingId) return new Map();
  const known = remembersTexts(target)
    ? lookUpEmbeddings(
        store,
        target.embeddingId,
        page.map(({ text }) => textHash(text)),
        { except: target.vectors },
      )
    : new Map<number, Buffer>();
  for (const { vectors } of others)
    page.forEach(({ key }, n) => {
      const vector = known.has(n) ? undefined : store.vectors(vectors).get(key);
      if (vector) known.set(n, vector);
    });
  return known;
}

/**
 * What WriteBuildVectors brings, checked.
 * @returns pairs of key and vector; undefined = all of it is there already
 * @throws INVALID_ARGUMENT
 */
export function checkedVectors(
  store: Store,
  target: GenerationRow,
  throughKey: number,
  keys: readonly number[],
  bytes: Buffer,
): (readonly [key: number, vector: Buffer])[] | undefined {
  const { dimensions } = target.embedding;
  const through = store.vectorSets.get(target.vectors)?.through ?? readState(store).nextKey - 1;
  if (throughKey <= through) return undefined;
  const fault = faultOf(store, target, through, throughKey, keys, bytes);
  if (fault) throw invalidArgument([fault]);
  const size = dimensions * 4;
  return keys.map((key, n) => [key, bytes.subarray(n * size, (n + 1) * size)] as const);
}

function faultOf(
  store: Store,
  target: GenerationRow,
  through: number,
  throughKey: number,
  keys: readonly number[],
  bytes: Buffer,
): { readonly field: string; readonly description: string } | undefined {
  const { dimensions } = target.embedding;
  const { nextKey } = readState(store);
  if (throughKey >= nextKey)
    return { field: "through_key", description: `below ${nextKey}, got ${throughKey}` };
  if (keys.length > MAX_PAGE_CHUNKS)
    return { field: "keys", description: `at most ${MAX_PAGE_CHUNKS}, got ${keys.length}` };
  const inOrder = keys.every((key, n) => key > (n === 0 ? through : (keys[n - 1] as number)));
  if (!inOrder || (keys.at(-1) ?? 0) > throughKey)
    return { field: "keys", description: `ascending, above ${through}, at most through_key` };
  const expected = keys.length * dimensions * 4;
  if (bytes.length !== expected)
    return {
      field: "vectors",
      description: `${keys.length} x ${dimensions} float32 (${expected} bytes), got ${bytes.length} bytes`,
    };
  const values = new Float32Array(bytes.length >> 2);
  new Uint8Array(values.buffer).set(bytes);
  if (!allFinite(values)) return { field: "vectors", description: "all values must be finite" };
  const max = largestValue(target.metric, target.scalar);
  if (!isWithin(values, max)) return { field: "vectors", description: `values within -${max}..${max}` };
  const given = new Set(keys);
  for (const key of store.chunks.getKeys({ start: through + 1, end: throughKey + 1 }))
    if (!given.has(key)) return { field: "keys", description: `chunk ${key} is missing` };
  return undefined;
}

/** Inside the transaction that stores the vectors: what was paid for is found by its text from here on. */
export function rememberTexts(store: Store, target: GenerationRow, keys: Iterable<number>): void {
  if (!remembersTexts(target)) return;
  for (const key of keys) {
    const text = store.chunks.get(key)?.[2];
    if (text !== undefined) rememberText(store, key, text);
  }
}
