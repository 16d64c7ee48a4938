import { type ChildProcess, fork } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../platform/free-port.ts";
import { connect, unary, waitForReady } from "../platform/grpc/client.ts";
import { type DocumentUpsert, IndexServiceClient } from "../proto/gen/arrwdb/index/v1/index.ts";
import { clustered, plainRate, uniform } from "./clustered.ts";

/**
 * How fast the index service takes vectors, against the same vectors added by usearch in this process with one thread
 * and the same parameters; and how fast it answers searches meanwhile.
 *
 *     node --import tsx bench/index-rate.ts --chunks 20000 --dimensions 768
 *
 * Data: 500 Gaussians in a 32-dimensional latent space, projected, with 0.1 noise, normalised.
 */

const { values } = parseArgs({
  options: {
    chunks: { type: "string", default: "20000" },
    dimensions: { type: "string", default: "768" },
    batch: { type: "string", default: "256" },
    inflight: { type: "string", default: "4" },
    searches: { type: "boolean", default: false },
  },
});
const chunks = Number(values.chunks);
const dimensions = Number(values.dimensions);
const batch = Number(values.batch);
const inflight = Number(values.inflight);

function upsertOf(rows: Float32Array, n: number): DocumentUpsert {
  const bytes = Buffer.from(rows.buffer, n * dimensions * 4, dimensions * 4);
  const documentId = `document-${n}`;
  const text = `The text of ${documentId}, long enough to look like one. `.repeat(6);
  return {
    document: {
      documentId,
      title: documentId,
      texts: [text],
      metadata: { n },
      author: "",
      tags: [],
      vectors: [],
      sourceUrl: "",
    },
    vectors: bytes,
  };
}

interface Service {
  readonly client: IndexServiceClient;
  readonly process: ChildProcess;
}

async function startService(folder: string): Promise<Service> {
  const port = await freePort();
  const env = {
    ...process.env,
    ARRW_DATA_DIR: folder,
    ARRW_INDEX_GRPC_PORT: String(port),
    ARRW_INDEX_HTTP_PORT: String(await freePort()),
    ARRW_LOG_LEVEL: "warn",
  };
  const child = fork(join(import.meta.dirname, "../services/index/main.ts"), [], {
    env,
    execArgv: ["--import", "tsx"],
  });
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`the index service ended with code ${code}`)));
  });
  const client = connect(IndexServiceClient, `127.0.0.1:${port}`);
  await waitForReady(client, 5_000);
  return { client, process: child };
}

async function importAll(client: IndexServiceClient, embeddingId: string, rows: Float32Array): Promise<void> {
  let next = 0;
  const send = async (): Promise<void> => {
    while (next < chunks) {
      const from = next;
      next = Math.min(chunks, from + batch);
      const documents = Array.from({ length: next - from }, (_, j) => upsertOf(rows, from + j));
      const request = { libraryId: "bench", embeddingId, fence: undefined, documents };
      await unary(client, client.upsertDocuments, request, { timeoutMs: 60_000 });
    }
  };
  await Promise.all(Array.from({ length: inflight }, send));
}

async function searchUntil(
  client: IndexServiceClient,
  embeddingId: string,
  rows: Float32Array,
  done: () => boolean,
): Promise<number[]> {
  const times: number[] = [];
  while (!done()) {
    const n = Math.floor(uniform() * chunks);
    const request = {
      libraryId: "bench",
      embeddingId,
      vector: Buffer.from(rows.buffer, n * dimensions * 4, dimensions * 4),
      k: 10,
      efSearch: 0,
      filter: undefined,
      includeText: false,
      exact: false,
    };
    const began = performance.now();
    await unary(client, client.search, request, { timeoutMs: 30_000 });
    times.push(performance.now() - began);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return times.sort((a, b) => a - b);
}

function percentiles(times: readonly number[]): string {
  const at = (p: number): string =>
    (times[Math.min(times.length - 1, Math.floor(times.length * p))] ?? 0).toFixed(1);
  return `${times.length} searches, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

const rows = clustered(chunks, dimensions);
const plain = plainRate(rows, chunks, dimensions, batch);
console.log(`plain usearch, 1 thread: ${plain.toFixed(0)} vectors/s`);
const folder = await mkdtemp(join(tmpdir(), "arrw-bench-"));
const service = await startService(folder);
const { client } = service;
const created = await unary(
  client,
  client.createLibrary,
  {
    libraryId: "bench",
    name: "bench",
    embedding: { provider: "none", model: "", dimensions },
    indexType: "hnsw",
    indexConfig: { metric: "cos", scalar: "bf16", connectivity: 16, expansionAdd: 128, expansionSearch: 64 },
  },
  { timeoutMs: 10_000 },
);
let finished = false;
const searching = values.searches
  ? searchUntil(client, created.embeddingId, rows, () => finished)
  : undefined;
const began = performance.now();
await importAll(client, created.embeddingId, rows);
const acknowledged = (performance.now() - began) / 1000;
for (;;) {
  const { library } = await unary(
    client,
    client.getLibrary,
    { visibleLibraries: [], libraryId: "bench" },
    { timeoutMs: 10_000 },
  );
  if (Number(library?.vectorCount) >= chunks) break;
  await new Promise((resolve) => setTimeout(resolve, 20));
}
const indexed = (performance.now() - began) / 1000;
finished = true;
const rate = chunks / indexed;
console.log(
  `index service: acknowledged in ${acknowledged.toFixed(2)} s, indexed in ${indexed.toFixed(2)} s`,
);
console.log(`index service: ${rate.toFixed(0)} vectors/s, ratio ${(rate / plain).toFixed(2)}`);
const times = await searching;
if (times) console.log(`while adding: ${percentiles(times)}`);
const until = performance.now() + 3_000;
const idle = await searchUntil(client, created.embeddingId, rows, () => performance.now() > until);
console.log(`idle: ${percentiles(idle)}`);
client.close();
service.process.kill("SIGTERM");
await new Promise((resolve) => service.process.once("exit", resolve));
await rm(folder, { recursive: true, force: true });
