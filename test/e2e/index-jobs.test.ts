import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startSystem } from "../../cli/supervisor.ts";
import { ArrwClient, type Job, JobStatus } from "../../client/index.ts";
import { realDocuments } from "../support/corpus.ts";
import { eventually } from "../support/eventually.ts";

type Documents = ReturnType<typeof realDocuments>;
type Settings = NonNullable<NonNullable<Parameters<typeof startSystem>[0]>["settings"]>;

/** Builds slowly enough to be met under way. */
const SLOW_INDEX = { connectivity: 64, expansionAdd: 10_000 };

async function start(t: TestContext, settings: Settings = {}) {
  const system = await startSystem({ temporary: true, settings });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address, timeoutMs: 60_000 });
  t.after(() => client.close());
  return { system, client };
}

async function filled(client: ArrwClient, name: string, documents: Documents): Promise<string> {
  const { libraryId } = await client.createLibrary({ name });
  const job = await client.wait((await client.importDocuments(libraryId, documents)).jobId);
  assert.equal(job.status, JobStatus.JOB_STATUS_COMPLETED);
  return libraryId;
}

async function completed(client: ArrwClient, { jobId }: Job): Promise<Job> {
  const job = await client.wait(jobId);
  assert.equal(job.status, JobStatus.JOB_STATUS_COMPLETED, `${job.error?.code}: ${job.error?.message}`);
  return job;
}

/** As soon as vectors are in the new index. */
async function underWay(client: ArrwClient, { jobId }: Job): Promise<void> {
  for await (const job of client.watch(jobId)) {
    if ((job.progress?.current ?? 0n) > 0n && /^building/.test(job.progress?.message ?? "")) return;
  }
  assert.fail("the job ended before it was seen under way");
}

/** Each sampled document is the best hit for its own text, or as good as the best. */
async function assertFound(client: ArrwClient, libraryId: string, documents: Documents, step: number) {
  for (let place = 0; place < documents.length; place += step) {
    const text = documents[place]?.texts?.[0] ?? "";
    const { hits } = await client.search(libraryId, text, { k: 5, exact: true, includeText: true });
    const best = hits[0]?.score ?? Number.NaN;
    assert.ok(
      hits.some((hit) => hit.text === text && best - hit.score < 1e-6),
      text,
    );
  }
}

/** When the index has every chunk: it takes them in behind the writes. */
async function indexed(client: ArrwClient, libraryId: string): Promise<void> {
  const inStep = async (): Promise<boolean> => {
    const { vectorCount, chunkCount } = await client.getLibrary(libraryId);
    return vectorCount === chunkCount;
  };
  await eventually(inStep, { timeoutMs: 30_000, what: "an index with all chunks" });
}

/** Searches and imports until it is stopped; every call has to succeed. */
function traffic(client: ArrwClient, libraryId: string, texts: readonly string[], imports: Documents) {
  let running = true;
  const generations: bigint[] = [];
  const search = async (): Promise<void> => {
    for (let n = 0; running; n++) {
      const { generation, hits } = await client.search(libraryId, texts[n % texts.length] ?? "", { k: 3 });
      assert.equal(hits.length, 3);
      generations.push(generation);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const write = async (): Promise<number> => {
    let written = 0;
    for (let n = 0; running && n < imports.length; n += 20) {
      const batch = imports.slice(n, n + 20);
      await completed(client, await client.importDocuments(libraryId, batch));
      written = n + batch.length;
    }
    return written;
  };
  const done = Promise.all([write(), search()]);
  return {
    /** Documents that were written, and the generations that answered, in order. */
    stop: async () => {
      running = false;
      const [written] = await done;
      return { written, generations };
    },
  };
}

test("a rebuild under searches and imports loses nothing; another index job waits for it", async (t) => {
  const { client } = await start(t);
  const documents = realDocuments(2_000, 11);
  const libraryId = await filled(client, "rebuilt", documents.slice(0, 1_000));
  const texts = documents.slice(0, 50).map((each) => each.texts?.[0] ?? "");
  const busy = traffic(client, libraryId, texts, documents.slice(1_000));
  const rebuild = await client.rebuildIndex(libraryId, { indexConfig: { ...SLOW_INDEX, metric: "ip" } });
  const second = await client.rebuildIndex(libraryId, { indexType: "flat" });
  await underWay(client, rebuild);
  const waiting = await client.get(second.jobId);
  assert.equal(waiting.status, JobStatus.JOB_STATUS_PENDING);
  assert.match(waiting.waitingFor, /index jobs of library/);
  const result = (await completed(client, rebuild)).result?.result;
  assert.ok(result?.$case === "indexRebuild");
  assert.ok(
    result.value.recallAt10 >= 0.95 && result.value.sampleQueries > 0,
    JSON.stringify(result.value.recallAt10),
  );
  await completed(client, second);
  const { written, generations } = await busy.stop();
  t.diagnostic(`${generations.length} searches, ${written} documents written meanwhile`);
  assert.deepEqual(
    generations,
    [...generations].sort((a, b) => Number(a - b)),
  );
  const library = await client.getLibrary(libraryId);
  assert.deepEqual(
    [
      library.indexType,
      library.indexConfig?.metric,
      library.indexConfig?.connectivity,
      library.documentCount,
    ],
    ["flat", "ip", 64, BigInt(1_000 + written)],
  );
  assert.ok(library.generation > library.previousGeneration && library.previousGeneration > 1n);
  await indexed(client, libraryId);
  await assertFound(client, libraryId, documents.slice(0, 1_000 + written), 50);

  const back = await client.rollbackGeneration(libraryId);
  assert.deepEqual([back.indexType, back.previousGeneration], ["hnsw", 0n]);
  await assertFound(client, libraryId, documents.slice(0, 1_000 + written), 100);
  await assert.rejects(client.rollbackGeneration(libraryId), { reason: "NO_PREVIOUS_GENERATION" });
});

test("a regenerate to other dimensions under searches and imports: texts are found before, during and after", async (t) => {
  const { client } = await start(t);
  const documents = realDocuments(2_000, 12);
  const libraryId = await filled(client, "regenerated", documents.slice(0, 1_000));
  const texts = documents.slice(0, 50).map((each) => each.texts?.[0] ?? "");
  const busy = traffic(client, libraryId, texts, documents.slice(1_000));
  const job = await client.regenerateEmbeddings(libraryId, {
    embedding: { provider: "hashing", dimensions: 384 },
  });
  const result = (await completed(client, job)).result?.result;
  assert.ok(result?.$case === "regenerateEmbeddings");
  const { written, generations } = await busy.stop();
  t.diagnostic(`${generations.length} searches, ${written} documents written meanwhile`);
  assert.deepEqual(result.value.embedding?.dimensions, 384);
  assert.ok(result.value.chunksReembedded >= 1_000n);
  const library = await client.getLibrary(libraryId);
  assert.deepEqual([library.embedding?.dimensions, library.documentCount], [384, BigInt(1_000 + written)]);
  await indexed(client, libraryId);
  assert.equal(library.generation, result.value.generation);
  for (let place = 0; place < 1_000 + written; place += 40) {
    const documentId = documents[place]?.documentId ?? "";
    const { vectors } = await client.getDocument(libraryId, documentId, { includeVectors: true });
    assert.ok(
      vectors.every(({ packed }) => packed.length === 384 * 4),
      documentId,
    );
  }
  await assertFound(client, libraryId, documents.slice(0, 1_000 + written), 50);
  // Right after it: no search with the old vectors, and none refused.
  const { generation } = await client.search(libraryId, texts[0] ?? "", { k: 1 });
  assert.equal(generation, library.generation);
});

test("a cancelled rebuild stops at once and leaves the library as it was", async (t) => {
  const { client } = await start(t);
  const documents = realDocuments(2_000, 13);
  const libraryId = await filled(client, "cancelled", documents);
  await indexed(client, libraryId);
  const before = await client.getLibrary(libraryId);
  const job = await client.rebuildIndex(libraryId, { indexConfig: SLOW_INDEX });
  await underWay(client, job);
  const ended = client.wait(job.jobId);
  const asked = performance.now();
  await client.cancel(job.jobId);
  assert.equal((await ended).status, JobStatus.JOB_STATUS_CANCELLED);
  const tookMs = performance.now() - asked;
  t.diagnostic(`cancelled after ${Math.round(tookMs)} ms`);
  assert.ok(tookMs < 1_000, `${tookMs} ms`);
  const after = await client.getLibrary(libraryId);
  assert.deepEqual(
    [after.generation, after.buildingGeneration, after.previousGeneration, after.vectorCount],
    [before.generation, 0n, 0n, before.vectorCount],
  );
  await completed(client, await client.rebuildIndex(libraryId, { indexType: "flat" }));
});

test("a rebuild outlives SIGKILL of its worker and of the index", async (t) => {
  const { client, system } = await start(t, {
    ARRW_LEASE_TIMEOUT_MS: 2_000,
    ARRW_INDEX_SNAPSHOT_CHANGES: 1_000,
  });
  const documents = realDocuments(2_000, 14);
  const libraryId = await filled(client, "killed", documents);
  const job = await client.rebuildIndex(libraryId, { indexConfig: SLOW_INDEX });
  await underWay(client, job);
  const { buildingGeneration } = await client.getLibrary(libraryId);
  system.kill("worker");
  await eventually(async () => (await client.get(job.jobId)).losses === 1, { timeoutMs: 20_000 });
  system.kill("index");
  await system.ready("index");
  const done = await completed(client, job);
  const result = done.result?.result;
  assert.ok(result?.$case === "indexRebuild");
  assert.equal(done.retries, 0);
  // Taken up, not begun anew.
  assert.equal(result.value.generation, buildingGeneration);
  const library = await client.getLibrary(libraryId);
  assert.deepEqual([library.generation, library.buildingGeneration], [buildingGeneration, 0n]);
  await indexed(client, libraryId);
  await assertFound(client, libraryId, documents, 100);
});

test("a regenerate goes on after SIGKILL of the index and of its worker", async (t) => {
  const { client, system } = await start(t, { ARRW_LEASE_TIMEOUT_MS: 2_000, ARRW_IMPORT_BATCH_CHUNKS: 16 });
  const documents = realDocuments(2_000, 15);
  const libraryId = await filled(client, "killed", documents);
  const embedding = { provider: "hashing", dimensions: 128 };
  const job = await client.regenerateEmbeddings(libraryId, { embedding });
  await eventually(async () => ((await client.get(job.jobId)).progress?.current ?? 0n) > 0n, {
    timeoutMs: 20_000,
    intervalMs: 5,
  });
  system.kill("index");
  await system.ready("index");
  system.kill("worker");
  const result = (await completed(client, job)).result?.result;
  assert.ok(result?.$case === "regenerateEmbeddings");
  const { embedding: now, chunkCount } = await client.getLibrary(libraryId);
  assert.equal(now?.dimensions, 128);
  assert.equal(result.value.chunksReembedded + result.value.embeddingsReused, chunkCount);
  await assertFound(client, libraryId, documents, 100);
});

test("of two optimizes the second has nothing left to do; a failed gate changes nothing", async (t) => {
  const { client } = await start(t);
  const documents = realDocuments(400, 16);
  const libraryId = await filled(client, "optimized", documents);
  // What was never in the index leaves nothing behind.
  await indexed(client, libraryId);
  const removed = documents.slice(0, 100);
  for (const { documentId } of removed) await client.deleteDocument(libraryId, documentId ?? "");
  const chunks = removed.reduce((sum, { texts }) => sum + (texts?.length ?? 0), 0);
  await eventually(async () => (await client.getLibrary(libraryId)).tombstoneCount === BigInt(chunks));
  const jobs = [await client.optimizeIndex(libraryId), await client.optimizeIndex(libraryId)];
  const results = await Promise.all(
    jobs.map(async (job) => {
      const result = (await completed(client, job)).result?.result;
      assert.ok(result?.$case === "indexOptimize");
      return result.value;
    }),
  );
  assert.deepEqual(
    results.map(({ tombstonesDropped }) => tombstonesDropped),
    [BigInt(chunks), 0n],
  );
  assert.deepEqual([results[1]?.buildSeconds, results[1]?.generation], [0, results[0]?.generation]);
  assert.equal((await client.getLibrary(libraryId)).tombstoneCount, 0n);

  const before = await client.getLibrary(libraryId);
  const weak = { connectivity: 2, expansionAdd: 1, expansionSearch: 1 };
  const gated = await client.wait(
    (await client.rebuildIndex(libraryId, { indexConfig: weak, minRecall: 1 })).jobId,
  );
  assert.deepEqual([gated.status, gated.error?.code], [JobStatus.JOB_STATUS_FAILED, "RECALL_TOO_LOW"]);
  assert.equal(gated.retries, 0);
  assert.match(gated.error?.message ?? "", /0\.\d+/);
  const after = await client.getLibrary(libraryId);
  assert.deepEqual([after.generation, after.indexConfig], [before.generation, before.indexConfig]);
});
