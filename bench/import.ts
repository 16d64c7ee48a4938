import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { clustered, plainRate } from "./clustered.ts";
import { vectorDocuments } from "./documents.ts";
import { cpuOf, cpuPerUnit, median } from "./processes.ts";

/** Asking without a pause would take a core from the index. */
const POLL_MS = 5;

/**
 * A batch_import of documents with client vectors, against the same vectors added by plain usearch in one process
 * with the same thread count (1), scalar and parameters:
 *
 *     npm run bench -- import [--chunks 20000] [--dimensions 768] [--rounds 3]
 *
 * Counted from the first byte sent to the job's COMPLETED, and again until the HNSW index has caught up.
 */
export async function benchImport(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      chunks: { type: "string", default: "20000" },
      dimensions: { type: "string", default: "768" },
      rounds: { type: "string", default: "3" },
    },
  });
  const [chunks, dimensions, rounds] = [values.chunks, values.dimensions, values.rounds].map(Number) as [
    number,
    number,
    number,
  ];
  const rows = clustered(chunks, dimensions);
  const system = await startSystem({ temporary: true, settings: { ARRW_LOG_LEVEL: "warn" } });
  const client = new ArrwClient({ address: system.address, timeoutMs: 600_000 });
  try {
    const ratios: number[] = [];
    for (let round = 1; round <= rounds; round++) {
      const plain = plainRate(rows, chunks, dimensions, 256);
      const before = cpuOf(system);
      const { completed, indexed } = await importOnce(client, rows, chunks, dimensions, `round-${round}`);
      const cpu = cpuPerUnit(before, cpuOf(system), chunks);
      ratios.push(indexed / plain);
      const shown = `import ${Math.round(completed)} chunks/s to COMPLETED, ${Math.round(indexed)} to indexed`;
      console.log(
        `round ${round}: plain usearch ${Math.round(plain)}/s; ${shown}; ratio ${(indexed / plain).toFixed(2)}`,
      );
      console.log(`  CPU us per chunk: ${cpu}`);
    }
    console.log(`median ratio ${median(ratios).toFixed(2)} (${chunks} x ${dimensions}, bf16, 1 thread each)`);
  } finally {
    client.close();
    await system.stop();
  }
}

async function importOnce(
  client: ArrwClient,
  rows: Float32Array,
  chunks: number,
  dimensions: number,
  name: string,
) {
  const embedding = { provider: "none", model: "", dimensions };
  const { libraryId } = await client.createLibrary({ name, embedding });
  const startedAt = performance.now();
  const { jobId } = await client.importDocuments(libraryId, vectorDocuments(rows, chunks, dimensions));
  const job = await client.wait(jobId);
  if (job.status !== JobStatus.JOB_STATUS_COMPLETED)
    throw new Error(`the import failed: ${JSON.stringify(job.error)}`);
  const completed = chunks / ((performance.now() - startedAt) / 1000);
  // A search sees everything acknowledged at once; the index itself may be some batches behind.
  while ((await client.getLibrary(libraryId)).vectorCount < BigInt(chunks)) await pause(POLL_MS);
  const indexed = chunks / ((performance.now() - startedAt) / 1000);
  await client.deleteLibrary(libraryId);
  return { completed, indexed };
}
