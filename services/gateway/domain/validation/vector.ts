import type { Vector } from "../../../../proto/gen/arrwdb/v1/document.ts";
import type { Violations } from "./violations.ts";

/** `dimensions` undefined: not known, so the length is not checked. */
export function checkVector(
  path: string,
  vector: Vector,
  dimensions: number | undefined,
  violations: Violations,
): void {
  const { values, packed } = vector;
  if (values.length > 0 === packed.length > 0) {
    violations.add(path, `exactly one of values and packed; got ${values.length > 0 ? "both" : "none"}`);
    return;
  }
  if (packed.length % 4 !== 0) {
    violations.add(`${path}.packed`, `4 bytes a dimension; got ${packed.length} bytes`);
    return;
  }
  const length = values.length > 0 ? values.length : packed.length / 4;
  if (dimensions !== undefined && length !== dimensions) {
    violations.add(path, `${dimensions} dimensions; got ${length}`);
  }
  const bad = values.length > 0 ? values.findIndex((value) => !Number.isFinite(value)) : notFinite(packed);
  if (bad >= 0) {
    const value = values.length > 0 ? values[bad] : packed.readFloatLE(bad * 4);
    violations.add(path, `finite numbers; got ${value} at ${bad}`);
  }
}

function notFinite(packed: Uint8Array): number {
  for (let offset = 3; offset < packed.length; offset += 4) {
    // A float32 is infinite or NaN exactly when all bits of its exponent are set.
    const high = packed[offset] ?? 0;
    const low = packed[offset - 1] ?? 0;
    if ((high & 0x7f) === 0x7f && (low & 0x80) === 0x80) return (offset - 3) / 4;
  }
  return -1;
}

/** The vector as little-endian float32. */
export function packedVector(vector: Vector): Buffer {
  if (vector.packed.length > 0) return vector.packed;
  const packed = Buffer.allocUnsafe(vector.values.length * 4);
  for (const [index, value] of vector.values.entries()) packed.writeFloatLE(value, index * 4);
  return packed;
}
