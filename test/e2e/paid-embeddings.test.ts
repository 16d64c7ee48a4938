import assert from "node:assert/strict";
import { test } from "node:test";
import { startSystem } from "../../cli/supervisor.ts";
import { ArrwClient, type Job, JobStatus } from "../../client/index.ts";
import { EmbeddingServer } from "../support/embedding-server.ts";
import { eventually } from "../support/eventually.ts";

const KEY = "sk-end-to-end-secret";
const BATCH_CHUNKS = 64;
const DOCUMENTS = 1_200;
/** A batch being written and one being embedded. */
const UNDER_WAY = 2 * BATCH_CHUNKS;

async function completed(client: ArrwClient, { jobId }: Job): Promise<Job> {
  const job = await client.wait(jobId);
  assert.equal(job.status, JobStatus.JOB_STATUS_COMPLETED, `${job.error?.code}: ${job.error?.message}`);
  return job;
}

test("a killed worker's import pays again for no more than it had under way; then all is known", async (t) => {
  const provider = await EmbeddingServer.start(t);
  const system = await startSystem({
    temporary: true,
    settings: {
      ARRW_OPENAI_BASE_URL: `${provider.url}/v1`,
      ARRW_OPENAI_API_KEY: KEY,
      ARRW_IMPORT_BATCH_CHUNKS: BATCH_CHUNKS,
      ARRW_EMBEDDING_BATCH_TEXTS: 32,
      ARRW_LEASE_TIMEOUT_MS: 2_000,
      ARRW_LOG_LEVEL: "debug",
    },
  });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address, timeoutMs: 60_000 });
  t.after(() => client.close());
  const embedding = { provider: "openai", model: "small", dimensions: provider.dimensions };
  const { libraryId } = await client.createLibrary({ name: "paid", embedding });
  const documents = Array.from({ length: DOCUMENTS }, (_, n) => ({
    documentId: `doc-${n}`,
    texts: [`what document number ${n} says`],
  }));

  // Every seventh call is one too many, and the worker dies in the middle.
  provider.fault = ({ number }) =>
    number % 7 === 0 ? { status: 429, headers: { "retry-after": "0.1" } } : undefined;
  const job = await client.importDocuments(libraryId, documents);
  await eventually(() => provider.charged.size > DOCUMENTS / 3, {
    what: "a third of the texts",
    timeoutMs: 60_000,
  });
  system.kill("worker");
  await completed(client, job);
  assert.equal(provider.charged.size, DOCUMENTS);
  const twice = provider.chargedTwice.length;
  t.diagnostic(`${twice} of ${DOCUMENTS} texts were paid for twice`);
  assert.ok(twice <= UNDER_WAY, `${twice} texts were paid for twice`);

  // The same again, after the worker and the index have forgotten what they had in memory.
  for (const name of ["worker", "index"]) {
    system.kill(name);
    await system.ready(name);
  }
  const calls = provider.calls.length;
  await completed(client, await client.importDocuments(libraryId, documents));
  assert.equal(provider.calls.length, calls, "nothing is paid for again");

  const { hits } = await client.search(libraryId, "what document number 7 says", { k: 1, exact: true });
  assert.equal(hits[0]?.documentId, "doc-7");

  // To another model and back: the way back is known.
  const other = { ...embedding, model: "large" };
  await completed(client, await client.regenerateEmbeddings(libraryId, { embedding: other }));
  const paid = provider.calls.length;
  assert.ok(paid > calls + 1);
  await completed(client, await client.regenerateEmbeddings(libraryId, { embedding }));
  assert.equal(provider.calls.length, paid, "the embedding before is known");
  assert.ok(!system.logs.join("\n").includes(KEY));
});
