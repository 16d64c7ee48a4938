/**
 * Distances and scores from the stored float32 vectors, summed in double precision: what clients see is exact,
 * whatever scalar the index holds.
 *
 * | metric | distance             | score             |
 * |--------|----------------------|-------------------|
 * | cos    | 1 - cosine           | cosine            |
 * | ip     | 1 - dot product      | dot product       |
 * | l2sq   | squared L2 distance  | -distance         |
 *
 * The cosine of a zero vector is 0.
 */

export const METRICS = ["cos", "ip", "l2sq"] as const;
export type Metric = (typeof METRICS)[number];

/** Distance of two vectors of the same length. */
export function distanceOf(metric: Metric, a: Float32Array, b: Float32Array): number {
  if (metric === "l2sq") return squaredL2(a, b);
  const product = dot(a, b);
  if (metric === "ip") return 1 - product;
  const norms = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  if (norms === 0) return 1;
  // Rounding must not make a vector more than similar to itself.
  return 1 - Math.max(-1, Math.min(1, product / norms));
}

/** Higher is better. */
export function scoreOf(metric: Metric, distance: number): number {
  return metric === "l2sq" ? 0 - distance : 1 - distance;
}

/** Four sums side by side: a single one waits for each addition before the next. */
function dot(a: Float32Array, b: Float32Array): number {
  const length = a.length;
  const whole = length - (length % 4);
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  for (let i = 0; i < whole; i += 4) {
    s0 += (a[i] as number) * (b[i] as number);
    s1 += (a[i + 1] as number) * (b[i + 1] as number);
    s2 += (a[i + 2] as number) * (b[i + 2] as number);
    s3 += (a[i + 3] as number) * (b[i + 3] as number);
  }
  for (let i = whole; i < length; i++) s0 += (a[i] as number) * (b[i] as number);
  return s0 + s1 + s2 + s3;
}

function squaredL2(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const d = (a[i] as number) - (b[i] as number);
    sum += d * d;
  }
  return sum;
}
