import type { Vector } from "../../../../proto/gen/arrwdb/v1/document.ts";
import type { Library } from "../../../../proto/gen/arrwdb/v1/libraries.ts";
import type { Violations } from "./violations.ts";

/** What a library asks of its vectors. */
export interface LibraryShape {
  readonly provider: string;
  readonly dimensions: number;
  /** Largest absolute value; the cosine doesn't see a vector's length, so any will do there. */
  readonly maxValue: number;
  readonly metric: string;
  readonly scalar: string;
}

const MAX_VALUE = 1e15;
const MAX_F16_VALUE = 65_504;

export function shapeOf({ embedding, indexConfig }: Library): LibraryShape {
  const max = indexConfig?.scalar === "f16" ? MAX_F16_VALUE : MAX_VALUE;
  return {
    provider: embedding?.provider ?? "",
    dimensions: embedding?.dimensions ?? 0,
    maxValue: indexConfig?.metric === "cos" ? Number.POSITIVE_INFINITY : max,
    metric: indexConfig?.metric ?? "",
    scalar: indexConfig?.scalar ?? "",
  };
}

/** `library` undefined: not known, so what depends on it is not checked. */
export function checkVector(
  path: string,
  vector: Vector,
  library: LibraryShape | undefined,
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
  if (library && length !== library.dimensions) {
    violations.add(path, `${library.dimensions} dimensions; got ${length}`);
  }
  const numbers = values.length > 0 ? values : unpacked(packed);
  const max = library?.maxValue ?? Number.POSITIVE_INFINITY;
  for (let index = 0; index < length; index++) {
    const value = numbers[index] as number;
    if (!Number.isFinite(value)) violations.add(path, `finite numbers; got ${value} at ${index}`);
    else if (Math.abs(value) > max) violations.add(path, `within -${max}..${max}; got ${value} at ${index}`);
    else continue;
    return;
  }
}

/** The numbers as the machine has them, which is little-endian on x64 and arm64; copied if their address is odd. */
function unpacked(packed: Buffer): Float32Array {
  if (packed.byteOffset % 4 !== 0) return new Float32Array(Uint8Array.from(packed).buffer);
  return new Float32Array(packed.buffer, packed.byteOffset, packed.length / 4);
}

/** The vector as little-endian float32. */
export function packedVector(vector: Vector): Buffer {
  if (vector.packed.length > 0) return vector.packed;
  const packed = Buffer.allocUnsafe(vector.values.length * 4);
  for (const [index, value] of vector.values.entries()) packed.writeFloatLE(value, index * 4);
  return packed;
}
