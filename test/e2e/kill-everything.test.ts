import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { startSystem } from "../../cli/supervisor.ts";
import type { DocumentInput } from "../../client/import-stream.ts";
import { ArrwClient } from "../../client/index.ts";
import { JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { realDocuments, seededRandom } from "../support/corpus.ts";

const DOCUMENTS = 10_000;
const SAMPLES = 200;
const SEED = Number(process.env.SEED ?? 20_261_124);

test("10,000 documents are imported exactly while every process is killed with SIGKILL", async (t) => {
  const random = seededRandom(SEED);
  t.diagnostic(`seed ${SEED}`);
  const system = await startSystem({ temporary: true, settings: { ARRW_IMPORT_BATCH_CHUNKS: 64 } });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address, timeoutMs: 60_000 });
  t.after(() => client.close());

  const documents = realDocuments(DOCUMENTS, SEED);
  const { libraryId } = await client.createLibrary({ name: "kills" });
  const job = await client.importDocuments(libraryId, documents);
  const done = client.wait(job.jobId);

  const kills = await killEach(system, random, done);
  t.diagnostic(`kills: ${kills.join(" ")}`);
  const ended = await done;
  for (const name of system.names) {
    assert.ok(kills.includes(name), `the import ended before ${name} was killed`);
    await system.ready(name);
  }

  assert.equal(ended.status, JobStatus.JOB_STATUS_COMPLETED, JSON.stringify(ended.error));
  const chunks = documents.reduce((sum, { texts }) => sum + (texts?.length ?? 0), 0);
  const result = ended.result?.result;
  assert.equal(result?.$case, "batchImport");
  assert.deepEqual([result.value.imported, result.value.failed], [BigInt(DOCUMENTS), 0n]);
  assert.equal(result.value.totalChunks, BigInt(chunks));
  await compareDocuments(client, libraryId, documents);
  await compareSearches(client, libraryId, documents, random);
});

/** Kills every process once at a random moment, in random order, and then goes on until the job has ended. */
async function killEach(
  system: Awaited<ReturnType<typeof startSystem>>,
  random: () => number,
  done: Promise<unknown>,
): Promise<string[]> {
  const kills: string[] = [];
  let running = true;
  void done.finally(() => {
    running = false;
  });
  const order = [...system.names].sort(() => random() - 0.5);
  for (const name of order) {
    await pause(50 + random() * 300);
    if (!running) break;
    system.kill(name);
    kills.push(name);
    // The next one comes while this one is still on its way back, or only then: both happen.
    if (random() < 0.5) await system.ready(name);
  }
  return kills;
}

async function compareDocuments(client: ArrwClient, libraryId: string, expected: readonly DocumentInput[]) {
  const library = await client.getLibrary(libraryId);
  assert.equal(library.documentCount, BigInt(expected.length));
  const texts = new Map(expected.map((document) => [document.documentId, document.texts]));
  let found = 0;
  for await (const document of client.documents(libraryId, { pageSize: 1_000, includeTexts: true })) {
    assert.deepEqual(document.texts, texts.get(document.documentId), document.documentId);
    texts.delete(document.documentId);
    found += 1;
  }
  assert.equal(found, expected.length);
  assert.equal(texts.size, 0, "every document is there once");
}

/** Each sampled chunk is found by its own text at rank 1; chunks with the same score share the rank. */
async function compareSearches(
  client: ArrwClient,
  libraryId: string,
  documents: readonly DocumentInput[],
  random: () => number,
) {
  let byIndex = 0;
  for (let sample = 0; sample < SAMPLES; sample++) {
    const document = documents[Math.floor(random() * documents.length)];
    const texts = document?.texts ?? [];
    const text = texts[Math.floor(random() * texts.length)] ?? "";
    assert.ok(
      await foundFirst(client, libraryId, text, true),
      `exact search does not find ${JSON.stringify(text)}`,
    );
    if (await foundFirst(client, libraryId, text, false)) byIndex += 1;
  }
  assert.ok(byIndex >= SAMPLES * 0.99, `HNSW found ${byIndex} of ${SAMPLES} at rank 1`);
}

async function foundFirst(
  client: ArrwClient,
  libraryId: string,
  text: string,
  exact: boolean,
): Promise<boolean> {
  const { hits } = await client.search(libraryId, text, { k: 5, exact, includeText: true });
  const best = hits[0]?.score ?? Number.NaN;
  return hits.some((hit) => hit.text === text && best - hit.score < 1e-6);
}
