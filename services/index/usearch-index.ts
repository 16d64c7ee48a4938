import { rmSync } from "node:fs";
import { Index, type IndexConfig, MetricKind, ScalarKind } from "usearch";
import type { Metric } from "./domain/score.ts";

/**
 * usearch behind checks: it dies on a NaN count, an unknown metric or a foreign file, and silently accepts NaN. Nothing
 * reaches it here but integers in bounds, whitelisted names and finite vectors. One thread constant for all calls:
 * mixing them on one index applies a batch in part.
 */

export const SCALARS = ["f32", "f16", "bf16", "i8"] as const;
export type Scalar = (typeof SCALARS)[number];

export interface HnswParameters {
  /** 1..16,384. */
  readonly dimensions: number;
  readonly metric: Metric;
  readonly scalar: Scalar;
  /** M, 2..128. */
  readonly connectivity: number;
  /** ef_construction, 1..10,000. */
  readonly expansionAdd: number;
  /** ef, 1..10,000. */
  readonly expansionSearch: number;
}

/** Most neighbours asked of an index at once. */
export const MAX_CANDIDATES = 10_000;
export const MAX_DIMENSIONS = 16_384;
const THREADS = 1;

export const METRIC_KINDS: Record<Metric, MetricKind> = {
  cos: MetricKind.Cos,
  ip: MetricKind.IP,
  l2sq: MetricKind.L2sq,
};
const SCALAR_KINDS: Record<Scalar, ScalarKind> = {
  f32: ScalarKind.F32,
  f16: ScalarKind.F16,
  bf16: ScalarKind.BF16,
  i8: ScalarKind.I8,
};

export class UsearchIndex {
  readonly parameters: HnswParameters;
  readonly #options: IndexConfig;
  readonly #index: Index;

  constructor(parameters: HnswParameters) {
    const { dimensions, metric, scalar, connectivity, expansionAdd, expansionSearch } = parameters;
    integer("dimensions", dimensions, 1, MAX_DIMENSIONS);
    integer("connectivity", connectivity, 2, 128);
    integer("expansionAdd", expansionAdd, 1, 10_000);
    integer("expansionSearch", expansionSearch, 1, 10_000);
    const metricKind = METRIC_KINDS[metric];
    const scalarKind = SCALAR_KINDS[scalar];
    if (!metricKind || !scalarKind) throw new TypeError(`no such metric or scalar: ${metric}, ${scalar}`);
    this.parameters = parameters;
    this.#options = {
      dimensions,
      metric: metricKind,
      quantization: scalarKind,
      connectivity,
      expansion_add: expansionAdd,
      expansion_search: expansionSearch,
      multi: false,
    };
    this.#index = new Index(this.#options);
  }

  /** Live vectors. */
  get size(): number {
    return Number(this.#index.size());
  }

  /** Adds rows under keys that were never used before: a known one would fail after part of the batch went in. */
  add(keys: readonly number[], rows: Float32Array): void {
    if (rows.length !== keys.length * this.parameters.dimensions)
      throw new RangeError("rows and keys differ");
    assertFinite(rows);
    this.#index.add(toKeys(keys), rows, THREADS);
  }

  /** How many of the keys were there. */
  remove(keys: readonly number[]): number {
    if (keys.length === 0) return 0;
    const removed = this.#index.remove(toKeys(keys));
    return (Array.isArray(removed) ? removed : [removed]).reduce<number>((sum, n) => sum + Number(n), 0);
  }

  /** Keys of the nearest, best first by the index's own distances; fewer than `count` when the index is smaller. */
  search(query: Float32Array, count: number): number[] {
    integer("count", count, 1, MAX_CANDIDATES);
    if (query.length !== this.parameters.dimensions) throw new RangeError("the query has another length");
    assertFinite(query);
    const size = this.size;
    if (size === 0) return [];
    const { keys } = this.#index.search(query, Math.min(count, size), THREADS);
    return Array.from(keys, Number);
  }

  /** Writes a file that must not be in use. Neither flushed nor checked: that is for the caller to do. */
  save(path: string): void {
    this.#index.save(path);
  }

  /** Reads a file that the caller has checked; throws when it isn't of these parameters. */
  load(path: string): void {
    this.#index.load(path);
    const dimensions = Number(this.#index.dimensions());
    if (dimensions !== this.parameters.dimensions) throw new Error(`${path} has ${dimensions} dimensions`);
  }

  /**
   * Gives its memory back; not to be used any more. The binding has no way to close, and V8 doesn't see how much hangs on
   * an object of it, so an empty file is loaded into it.
   * @param scratch a path that nobody uses
   */
  free(scratch: string): void {
    new Index(this.#options).save(scratch);
    this.#index.load(scratch);
    rmSync(scratch);
  }
}

function toKeys(keys: readonly number[]): BigUint64Array {
  const result = new BigUint64Array(keys.length);
  keys.forEach((key, i) => {
    integer("key", key, 1, Number.MAX_SAFE_INTEGER);
    result[i] = BigInt(key);
  });
  return result;
}

function integer(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new RangeError(`${name}: ${min}..${max} expected, got ${value}`);
}

function assertFinite(values: Float32Array): void {
  if (!allFinite(values)) throw new RangeError("a vector holds NaN or Infinity");
}

/** x * 0 is NaN for NaN and Infinity alone. */
export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] as number) * 0;
  return sum === 0;
}
