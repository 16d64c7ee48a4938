/**
 * Memory of an HNSW index in bytes, by figures measured on usearch 2.26 (RSS, 32..768 dimensions, M 8..32; within 15 %):
 * the binding tells none.
 */

/** Bytes of one dimension. */
export const SCALAR_BYTES = { f32: 4, f16: 2, bf16: 2, i8: 1 } as const;

/** Key, level and count of links of a node. */
const NODE_HEAD_BYTES = 14;
/** Alignment of a node and of its vector. */
const NODE_SLACK_BYTES = 40;
/** Links of the upper levels: a node in M is in one, and they are 4 bytes each. */
const UPPER_LINK_BYTES = 0.3;
/** Tables of places, which grow by doubling. */
const PLACE_BYTES = 45;

export interface MemoryShape {
  readonly indexType: "hnsw" | "flat";
  readonly dimensions: number;
  readonly scalar: string;
  /** M: the lowest level has 2 M links of 4 bytes. */
  readonly connectivity: number;
}

/** @param vectors removed ones that still take room included; a flat index takes none beside the vectors' cache */
export function indexMemoryBytes(shape: MemoryShape, vectors: number): number {
  if (shape.indexType === "flat" || vectors === 0) return 0;
  const { dimensions, scalar, connectivity } = shape;
  const vector = dimensions * (SCALAR_BYTES[scalar as keyof typeof SCALAR_BYTES] ?? 4);
  const links = connectivity * (8 + UPPER_LINK_BYTES);
  const places = 2 ** Math.ceil(Math.log2(vectors));
  return Math.round(vectors * (vector + NODE_HEAD_BYTES + links + NODE_SLACK_BYTES) + places * PLACE_BYTES);
}
