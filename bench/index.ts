import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type System, startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { type IndexRebuildResult, type Job, JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { clustered, plainIndex, uniform } from "./clustered.ts";
import { vectorDocuments } from "./documents.ts";
import { IndexWriter } from "./index-writer.ts";
import { OpenLoop, type TimedCall } from "./open-loop.ts";
import { plainMemory } from "./plain-memory.ts";
import { anonymousBytes, latencies, percentile } from "./processes.ts";

/**
 * An index_rebuild of a library, first with nothing else to do, then under searches through the gateway and upserts at
 * the index, both due at a fixed rate whatever becomes of those before:
 *
 *     npm run bench -- index [--chunks 200000] [--dimensions 128] [--searches 50] [--upserts 100] [--seconds 15]
 *
 * Compared with plain usearch in this process: the same vectors, parameters and threads (1). `--seconds` is the time
 * under load before and after the rebuild. Upserts are one document each, every other one replaces one; after the swap
 * each acknowledged one is read, and found by its vector. Data: 500 Gaussians, see bench/clustered.ts.
 */
export async function benchIndex(args: readonly string[]): Promise<void> {
  const plan = planOf(args);
  const { chunks, dimensions } = plan;
  const rows = clustered(chunks + FRESH_ROWS, dimensions);
  const plain = await measurePlain(rows, plan);
  const system = await startSystem({ temporary: true, settings: { ARRW_LOG_LEVEL: "warn" } });
  const client = new ArrwClient({ address: system.address, timeoutMs: 600_000 });
  const writer = new IndexWriter(system, rows, dimensions, chunks);
  try {
    const embedding = { provider: "none", model: "", dimensions };
    const { libraryId } = await client.createLibrary({ name: "index", embedding });
    await writer.open(libraryId);
    await finished(
      client,
      await client.importDocuments(libraryId, vectorDocuments(rows, chunks, dimensions)),
    );
    while ((await client.getLibrary(libraryId)).vectorCount < BigInt(chunks)) await pause(POLL_MS);
    await rebuildAlone(client, system, libraryId, plain);
    await rebuildUnderLoad(client, libraryId, writer, rows, plan);
    const lost = await writer.missing(client);
    console.log(
      `acknowledged upserts ${writer.acknowledged}, missing after the swap: ${lost.length}, passed over by HNSW alone: ${writer.passedOver}`,
    );
    for (const text of lost.slice(0, 10)) console.log(`  ${text}`);
  } finally {
    client.close();
    writer.close();
    await system.stop();
  }
}

interface Plan {
  readonly chunks: number;
  readonly dimensions: number;
  readonly searches: number;
  readonly upserts: number;
  readonly seconds: number;
}

/** Vectors for upserts: more than any run needs. */
const FRESH_ROWS = 60_000;
const POLL_MS = 10;
const MB = 1_000_000;

function planOf(args: readonly string[]): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      chunks: { type: "string", default: "200000" },
      dimensions: { type: "string", default: "128" },
      searches: { type: "string", default: "50" },
      upserts: { type: "string", default: "100" },
      seconds: { type: "string", default: "15" },
    },
  });
  return {
    chunks: Number(values.chunks),
    dimensions: Number(values.dimensions),
    searches: Number(values.searches),
    upserts: Number(values.upserts),
    seconds: Number(values.seconds),
  };
}

interface Plain {
  readonly seconds: number;
  readonly bytes: number;
}

async function measurePlain(rows: Float32Array, { chunks, dimensions }: Plan): Promise<Plain> {
  const bytes = await plainMemory(chunks, dimensions);
  const { index, rate } = plainIndex(rows, chunks, dimensions);
  const seconds = chunks / rate;
  const shown = `${seconds.toFixed(1)} s (${Math.round(rate)}/s), ${(bytes / MB).toFixed(0)} MB`;
  console.log(`plain usearch, 1 thread, ${index.size()} x ${dimensions}: ${shown}`);
  return { seconds, bytes };
}

/** @throws unless it is COMPLETED */
async function finished(client: ArrwClient, { jobId }: Job): Promise<Job> {
  const job = await client.wait(jobId);
  if (job.status === JobStatus.JOB_STATUS_COMPLETED) return job;
  throw new Error(`${job.type} ended with status ${job.status}: ${job.error?.code} ${job.error?.message}`);
}

async function rebuild(client: ArrwClient, libraryId: string): Promise<IndexRebuildResult> {
  const spec = { spec: { $case: "indexRebuild", value: {} } } as const;
  const job = await finished(client, await client.submit({ libraryId, spec }));
  const result = job.result?.result;
  if (result?.$case !== "indexRebuild") throw new Error("the rebuild has no result");
  return result.value;
}

async function rebuildAlone(
  client: ArrwClient,
  system: System,
  libraryId: string,
  plain: Plain,
): Promise<void> {
  const pid = system.pid("index") ?? 0;
  const before = anonymousBytes(pid);
  let highest = before;
  const looking = setInterval(() => {
    highest = Math.max(highest, anonymousBytes(pid));
  }, 100);
  const result = await timed(() => rebuild(client, libraryId)).finally(() => clearInterval(looking));
  const { value, seconds } = result;
  const ratio = (seconds / plain.seconds).toFixed(2);
  console.log(`rebuild alone: ${seconds.toFixed(1)} s, ${ratio} of plain usearch; ${figuresOf(value)}`);
  const predicted = Number(value.newMemoryBytes);
  const off = (((predicted - plain.bytes) / plain.bytes) * 100).toFixed(0);
  const grown = `the index process grew by ${((highest - before) / MB).toFixed(0)} MB at most`;
  console.log(
    `  memory: predicted ${(predicted / MB).toFixed(0)} MB, ${off} % off plain usearch's; ${grown}`,
  );
}

async function rebuildUnderLoad(
  client: ArrwClient,
  libraryId: string,
  writer: IndexWriter,
  rows: Float32Array,
  { chunks, dimensions, searches, upserts, seconds }: Plan,
): Promise<void> {
  const searching = new OpenLoop(searches, async () => {
    const row = Math.floor(uniform() * chunks);
    const query = rows.subarray(row * dimensions, (row + 1) * dimensions);
    const { hits } = await client.search(libraryId, query);
    if (hits.length !== 10) throw new Error(`${hits.length} hits instead of 10`);
  });
  const writing = new OpenLoop(upserts, (n) => writer.upsert(n));
  const began = performance.now();
  searching.start();
  writing.start();
  let building = { from: 0, to: 0 };
  try {
    await pause(seconds * 1_000);
    const from = performance.now();
    const { value, seconds: took } = await timed(() => rebuild(client, libraryId));
    building = { from, to: performance.now() };
    console.log(`rebuild under load: ${took.toFixed(1)} s; ${figuresOf(value)}`);
    await pause(seconds * 1_000);
  } finally {
    await Promise.all([searching.stop(), writing.stop()]);
  }
  const ended = performance.now();
  for (const [name, loop] of [
    ["searches", searching],
    ["upserts", writing],
  ] as const) {
    // The first second warms up.
    const phases = {
      before: loop.between(began + 1_000, building.from),
      during: loop.between(building.from, building.to),
      after: loop.between(building.to, ended),
    };
    for (const [phase, calls] of Object.entries(phases)) {
      console.log(`  ${name} ${phase.padEnd(6)}: ${callsText(calls)}`);
    }
    if (name === "searches") sayBound(phases.before, phases.during);
  }
}

function sayBound(before: readonly TimedCall[], during: readonly TimedCall[]): void {
  const bound = Math.max(3 * p99(before), 10);
  const held = p99(during) <= bound ? "held" : "NOT held";
  console.log(
    `  p99 of searches during the rebuild at most max(3 x before, 10 ms) = ${bound.toFixed(1)}: ${held}`,
  );
}

function p99(calls: readonly TimedCall[]): number {
  return percentile(
    calls.map(({ ms }) => ms).sort((a, b) => a - b),
    0.99,
  );
}

function callsText(calls: readonly TimedCall[]): string {
  const failed = calls.filter(({ error }) => error !== undefined);
  const why = failed[0] ? ` (${String(failed[0].error).slice(0, 200)})` : "";
  return `${calls.length}, failed ${failed.length}${why}, ${latencies(calls.map(({ ms }) => ms))}`;
}

function figuresOf(result: IndexRebuildResult): string {
  const recall = `recall@10 ${result.recallAt10.toFixed(3)} (old ${result.oldRecallAt10.toFixed(3)})`;
  return `${result.vectorsReindexed} vectors, ${recall}, build ${result.buildSeconds.toFixed(1)} s`;
}

async function timed<T>(run: () => Promise<T>): Promise<{ readonly value: T; readonly seconds: number }> {
  const began = performance.now();
  const value = await run();
  return { value, seconds: (performance.now() - began) / 1_000 };
}
