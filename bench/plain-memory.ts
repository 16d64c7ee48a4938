import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Index, MetricKind, ScalarKind } from "usearch";
import { uniform } from "./clustered.ts";
import { anonymousBytes } from "./processes.ts";

/** Bytes of memory that a usearch index takes (bf16, M 16), measured in a new process: an older one uses memory again. */
export async function plainMemory(count: number, dimensions: number): Promise<number> {
  const args = ["--import", "tsx", fileURLToPath(import.meta.url), String(count), String(dimensions)];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  return Number(stdout);
}

const BATCH = 256;

/** What the vectors are doesn't matter to the memory, nor how well they are linked: few candidates make it quick. */
function measure(count: number, dimensions: number): number {
  const rows = Float32Array.from({ length: BATCH * dimensions }, uniform);
  const index = new Index({
    dimensions,
    metric: MetricKind.Cos,
    quantization: ScalarKind.BF16,
    connectivity: 16,
    expansion_add: 16,
    expansion_search: 16,
    multi: false,
  });
  const before = anonymousBytes(process.pid);
  for (let i = 0; i < count; i += BATCH) {
    const size = Math.min(BATCH, count - i);
    for (let n = 0; n < size * dimensions; n += 7) rows[n] = uniform();
    const keys = BigUint64Array.from({ length: size }, (_, j) => BigInt(i + j + 1));
    index.add(keys, rows.subarray(0, size * dimensions), 1);
  }
  return anonymousBytes(process.pid) - before;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  console.log(measure(Number(process.argv[2]), Number(process.argv[3])));
}
