import assert from "node:assert/strict";
import { test } from "node:test";
import { indexMemoryBytes } from "../../../services/index/domain/index-memory.ts";

/** Anonymous memory that a process took for an index of random vectors, MB. */
const MEASURED = [
  [128, "f32", 16, 60_000, 49.1],
  [128, "bf16", 8, 60_000, 27.9],
  [128, "bf16", 16, 60_000, 34.6],
  [128, "bf16", 32, 60_000, 41.2],
  [128, "bf16", 16, 120_000, 64.8],
  [128, "bf16", 16, 140_000, 79.8],
  [128, "i8", 16, 60_000, 22.9],
  [32, "bf16", 16, 120_000, 39.6],
  [768, "f32", 16, 30_000, 98.9],
  [768, "bf16", 8, 30_000, 54.4],
  [768, "bf16", 16, 30_000, 54.6],
  [768, "bf16", 16, 34_000, 62.8],
  [768, "bf16", 32, 30_000, 57.9],
  [768, "i8", 16, 30_000, 28.1],
] as const;

for (const [dimensions, scalar, connectivity, vectors, megabytes] of MEASURED) {
  test(`memory of ${vectors} x ${dimensions} ${scalar}, M ${connectivity}, is told within 15 %`, () => {
    const shape = { indexType: "hnsw", dimensions, scalar, connectivity } as const;
    const ratio = indexMemoryBytes(shape, vectors) / 1e6 / megabytes;
    assert.ok(ratio > 0.85 && ratio < 1.15, `${ratio}`);
  });
}

test("an empty index and a flat one take none", () => {
  const shape = { dimensions: 64, scalar: "bf16", connectivity: 16 };
  assert.equal(indexMemoryBytes({ ...shape, indexType: "hnsw" }, 0), 0);
  assert.equal(indexMemoryBytes({ ...shape, indexType: "flat" }, 1_000), 0);
});
