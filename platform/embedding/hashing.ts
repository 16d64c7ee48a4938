import { ArrwError } from "../errors.ts";
import type { EmbeddedTexts, EmbeddingProvider } from "./provider.ts";

/**
 * Signed feature hashing of words, word pairs and character n-grams: no network, no model file, the same vector on
 * every machine. It is LEXICAL: texts are near each other when they share words or parts of words ("index",
 * "indexes"), never because they mean the same. Case, Unicode form and punctuation don't count. Rows have length 1.
 */
export class HashingProvider implements EmbeddingProvider {
  readonly dimensions: number;
  readonly paid = false;
  readonly #words = new Map<string, WordFeatures>();

  constructor(dimensions: number) {
    this.dimensions = dimensions;
  }

  async embed(texts: readonly string[], signal: AbortSignal): Promise<Float32Array> {
    const { dimensions } = this;
    const rows = new Float32Array(texts.length * dimensions);
    const row = new Float64Array(dimensions);
    let sliceEnd = performance.now() + SLICE_MS;
    for (const [index, text] of texts.entries()) {
      if (performance.now() > sliceEnd) {
        await nextTurn();
        if (signal.aborted) throw abortError(signal);
        sliceEnd = performance.now() + SLICE_MS;
      }
      row.fill(0);
      this.#accumulate(text, row);
      writeUnit(row, text, rows, index * dimensions);
    }
    if (signal.aborted) throw abortError(signal);
    return rows;
  }

  async embedEach(texts: readonly string[], signal: AbortSignal): Promise<EmbeddedTexts> {
    return { rows: await this.embed(texts, signal), refused: new Map() };
  }

  /** Adds each feature's weight, times its sign, at its place in the row. */
  #accumulate(text: string, row: Float64Array): void {
    const words = text.normalize("NFKC").toLowerCase().match(WORD);
    if (!words) return;
    const counts = new Map<string, number>();
    let previous: number | undefined;
    for (const word of words) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
      const { hash } = this.#features(word);
      if (previous !== undefined) add(row, mix(Math.imul(previous, 31) ^ hash), PAIR_WEIGHT);
      previous = hash;
    }
    for (const [word, count] of counts) {
      const { hash, weight, grams } = this.#features(word);
      // The tenth occurrence says less than the first.
      const frequency = Math.sqrt(count);
      add(row, hash, weight * frequency);
      const gramWeight = (GRAM_WEIGHT * weight * frequency) / Math.sqrt(grams.length || 1);
      for (const gram of grams) add(row, gram, gramWeight);
    }
  }

  /** A few thousand words make up most of any text, so their hashes are kept. */
  #features(word: string): WordFeatures {
    const known = this.#words.get(word);
    if (known) return known;
    const features = wordFeatures(word);
    if (word.length > CACHED_WORD_LENGTH) return features;
    if (this.#words.size >= CACHED_WORDS) this.#words.clear();
    this.#words.set(word, features);
    return features;
  }
}

interface WordFeatures {
  readonly hash: number;
  readonly weight: number;
  readonly grams: Int32Array;
}

const WORD = /[\p{L}\p{N}\p{M}_]+/gu;
/** Scripts that write no spaces between words: short n-grams stand for words there. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const PAIR_WEIGHT = 0.5;
const GRAM_WEIGHT = 1.2;
const SLICE_MS = 5;
const CACHED_WORDS = 50_000;
const CACHED_WORD_LENGTH = 40;
const WORD_START = 2;
const WORD_END = 3;

function wordFeatures(word: string): WordFeatures {
  const unspaced = UNSPACED.test(word);
  const points = Array.from(word, (character) => character.codePointAt(0) ?? 0);
  const hash = hashPoints(points, 0, points.length, 1);
  const grams: number[] = [];
  // With its ends marked a word of one or two letters has grams too, and prefixes differ from middles.
  const marked = unspaced ? points : [WORD_START, ...points, WORD_END];
  const [shortest, longest] = unspaced ? [1, 3] : [3, 4];
  for (let size = shortest; size <= longest; size++) {
    for (let start = 0; start + size <= marked.length; start++) {
      grams.push(hashPoints(marked, start, start + size, size + 1));
    }
  }
  // Without the statistics of a corpus, length tells best how much a word says: "the" little, "retention" much.
  const weight = unspaced ? Math.sqrt(points.length) : Math.min(1, 0.25 + points.length / 8);
  return { hash, weight, grams: Int32Array.from(grams) };
}

/** FNV-1a over code points, mixed so that low bits are as good as high ones. */
function hashPoints(points: readonly number[], start: number, end: number, seed: number): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let index = start; index < end; index++) {
    hash = Math.imul(hash ^ (points[index] ?? 0), 0x01000193);
  }
  return mix(hash);
}

function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

/** The lowest bit is the sign, the others choose the place. */
function add(row: Float64Array, hash: number, weight: number): void {
  const place = (hash >>> 1) % row.length;
  row[place] = (row[place] ?? 0) + (hash & 1 ? weight : -weight);
}

/** Writes the row at length 1. A text without features, or whose features cancel, gets one coordinate of its own. */
function writeUnit(row: Float64Array, text: string, rows: Float32Array, offset: number): void {
  let squares = 0;
  for (const value of row) squares += value * value;
  if (squares < 1e-12) {
    const points = Array.from(text, (character) => character.codePointAt(0) ?? 0);
    row.fill(0);
    add(row, hashPoints(points, 0, points.length, 0), 1);
    squares = 1;
  }
  const scale = 1 / Math.sqrt(squares);
  for (let index = 0; index < row.length; index++) rows[offset + index] = (row[index] ?? 0) * scale;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function abortError(signal: AbortSignal): unknown {
  return signal.reason ?? new ArrwError("CANCELLED", "embedding was cancelled");
}
