import { parseArgs } from "node:util";
import { startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { clustered, plainIndex, uniform } from "./clustered.ts";
import { vectorDocuments } from "./documents.ts";
import { cpuOf, cpuPerUnit, latencies, median } from "./processes.ts";

/**
 * A search through the gateway against a search of plain usearch in this process, the same queries in turns, one at a
 * time, k = 10:
 *
 *     npm run bench -- search [--chunks 20000] [--dimensions 768] [--searches 3000]
 */
export async function benchSearch(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      chunks: { type: "string", default: "20000" },
      dimensions: { type: "string", default: "768" },
      searches: { type: "string", default: "3000" },
    },
  });
  const chunks = Number(values.chunks);
  const dimensions = Number(values.dimensions);
  const searches = Number(values.searches);
  const rows = clustered(chunks, dimensions);
  const { index } = plainIndex(rows, chunks, dimensions);
  const system = await startSystem({ temporary: true, settings: { ARRW_LOG_LEVEL: "warn" } });
  const client = new ArrwClient({ address: system.address, timeoutMs: 600_000 });
  try {
    const embedding = { provider: "none", model: "", dimensions };
    const { libraryId } = await client.createLibrary({ name: "search", embedding });
    const { jobId } = await client.importDocuments(libraryId, vectorDocuments(rows, chunks, dimensions));
    const job = await client.wait(jobId);
    if (job.status !== JobStatus.JOB_STATUS_COMPLETED) throw new Error(JSON.stringify(job.error));
    const run = async (count: number): Promise<{ raw: number[]; through: number[] }> => {
      const raw: number[] = [];
      const through: number[] = [];
      for (let n = 0; n < count; n++) {
        const row = Math.floor(uniform() * chunks);
        const query = rows.slice(row * dimensions, (row + 1) * dimensions);
        const first = performance.now();
        index.search(query, 10, 1);
        const second = performance.now();
        const { hits } = await client.search(libraryId, query);
        through.push(performance.now() - second);
        raw.push(second - first);
        if (hits[0]?.documentId !== `document-${row}`) throw new Error(`row ${row} was not found`);
      }
      return { raw, through };
    };
    await run(Math.min(500, searches));
    const before = cpuOf(system);
    const { raw, through } = await run(searches);
    const cpu = cpuPerUnit(before, cpuOf(system), searches);
    console.log(`raw usearch:     ${latencies(raw)}`);
    console.log(`through gateway: ${latencies(through)}`);
    console.log(`  CPU us per search: ${cpu}`);
    const added = median(through) - median(raw);
    console.log(`p50 added by the system: ${added.toFixed(2)} ms (${chunks} x ${dimensions}, k = 10)`);
  } finally {
    client.close();
    await system.stop();
  }
}
