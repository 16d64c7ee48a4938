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
  return distanceTo(metric, a)(b);
}

/** Distances of many vectors to one of the same length: what that one contributes is computed once. */
export function distanceTo(metric: Metric, to: Float32Array): (row: Float32Array) => number {
  if (metric === "l2sq") return (row) => squaredL2(to, row);
  if (metric === "ip") return (row) => 1 - dot(to, row);
  const length = Math.sqrt(squaredLength(to));
  return (row) => cosineDistance(to, length, row);
}

/** Summed in the order of `cosineDistance`, so that distances are the same both ways. */
function squaredLength(row: Float32Array): number {
  const whole = row.length - (row.length % 2);
  let n0 = 0;
  let n1 = 0;
  for (let i = 0; i < whole; i += 2) {
    n0 += (row[i] as number) * (row[i] as number);
    n1 += (row[i + 1] as number) * (row[i + 1] as number);
  }
  if (whole < row.length) n0 += (row[whole] as number) * (row[whole] as number);
  return n0 + n1;
}

/** The product and the row's length in one pass over the row. */
function cosineDistance(to: Float32Array, length: number, row: Float32Array): number {
  const whole = row.length - (row.length % 2);
  let p0 = 0;
  let p1 = 0;
  let n0 = 0;
  let n1 = 0;
  for (let i = 0; i < whole; i += 2) {
    const r0 = row[i] as number;
    const r1 = row[i + 1] as number;
    p0 += (to[i] as number) * r0;
    p1 += (to[i + 1] as number) * r1;
    n0 += r0 * r0;
    n1 += r1 * r1;
  }
  for (let i = whole; i < row.length; i++) {
    const r = row[i] as number;
    p0 += (to[i] as number) * r;
    n0 += r * r;
  }
  const norms = length * Math.sqrt(n0 + n1);
  if (norms === 0) return 1;
  // Rounding must not make a vector more than similar to itself.
  return 1 - Math.max(-1, Math.min(1, (p0 + p1) / norms));
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
