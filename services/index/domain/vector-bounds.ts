import type { Metric } from "./score.ts";

/** What the values of vectors may be, by what the index makes of them. */

/** Sums of squares stay within float32 for 16,384 dimensions. */
const MAX_VALUE = 1e15;
const MAX_F16 = 65_504;

/** The cosine doesn't see the length of a vector, so any finite value will do. */
export function largestValue(metric: Metric, scalar: string): number {
  if (metric === "cos") return Number.POSITIVE_INFINITY;
  return scalar === "f16" ? MAX_F16 : MAX_VALUE;
}

export function isWithin(values: Float32Array, max: number): boolean {
  return max === Number.POSITIVE_INFINITY || values.every((value) => value <= max && value >= -max);
}
