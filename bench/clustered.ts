import { Index, MetricKind, ScalarKind } from "usearch";

let state = 42;
/** Seeded (mulberry32): every run has the same data. */
export function uniform(): number {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
}
function gaussian(): number {
  return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/** 500 Gaussians in a 32-dimensional latent space, projected, with 0.1 noise, L2-normalised; row after row. */
export function clustered(count: number, dimensions: number): Float32Array {
  const latent = 32;
  const centres = Array.from({ length: 500 }, () => Float64Array.from({ length: latent }, gaussian));
  const projection = Float64Array.from({ length: latent * dimensions }, gaussian);
  const rows = new Float32Array(count * dimensions);
  for (let r = 0; r < count; r++) {
    const centre = centres[Math.floor(uniform() * centres.length)] as Float64Array;
    const point = centre.map((c) => c + 0.3 * gaussian());
    const row = rows.subarray(r * dimensions, (r + 1) * dimensions);
    for (let d = 0; d < dimensions; d++) {
      let sum = 0.1 * gaussian();
      for (let l = 0; l < latent; l++)
        sum += (point[l] as number) * (projection[l * dimensions + d] as number);
      row[d] = sum;
    }
    const norm = Math.hypot(...row);
    for (let d = 0; d < dimensions; d++) row[d] = (row[d] as number) / norm;
  }
  return rows;
}

export interface PlainIndex {
  readonly index: Index;
  /** Vectors added per second. */
  readonly rate: number;
}

/** The rows in a usearch index of this process, keys from 1: cos, bf16, M 16, ef_construction 128, ef 64. */
export function plainIndex(
  rows: Float32Array,
  count: number,
  dimensions: number,
  { batch = 256, threads = 1 } = {},
): PlainIndex {
  const index = new Index({
    dimensions,
    metric: MetricKind.Cos,
    quantization: ScalarKind.BF16,
    connectivity: 16,
    expansion_add: 128,
    expansion_search: 64,
    multi: false,
  });
  const began = performance.now();
  for (let i = 0; i < count; i += batch) {
    const size = Math.min(batch, count - i);
    const keys = BigUint64Array.from({ length: size }, (_, j) => BigInt(i + j + 1));
    index.add(keys, rows.subarray(i * dimensions, (i + size) * dimensions), threads);
  }
  return { index, rate: count / ((performance.now() - began) / 1000) };
}

/** Vectors per second that usearch adds in this process with one thread. */
export function plainRate(rows: Float32Array, count: number, dimensions: number, batch: number): number {
  return plainIndex(rows, count, dimensions, { batch }).rate;
}
