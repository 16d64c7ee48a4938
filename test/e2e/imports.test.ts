import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { type Job, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { realDocuments } from "../support/corpus.ts";
import { tempDir } from "../support/temp.ts";

type Options = NonNullable<Parameters<typeof startSystem>[0]>;

async function start(t: TestContext, options: Options = { temporary: true }) {
  const system = await startSystem(options);
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address });
  t.after(() => client.close());
  return { system, client };
}

/** The job as soon as the watch shows that some of it is done. */
async function underWay(client: ArrwClient, jobId: string): Promise<Job> {
  for await (const job of client.watch(jobId)) {
    if ((job.progress?.current ?? 0n) > 0n) return job;
  }
  throw new Error("the job ended before it was seen under way");
}

test("a cancelled import stops within 250 ms and counts exactly what it left", async (t) => {
  const { client } = await start(t, { temporary: true, settings: { ARRW_IMPORT_BATCH_CHUNKS: 16 } });
  const { libraryId } = await client.createLibrary({ name: "cancel" });
  const documents = realDocuments(8_000, 1);
  const { jobId } = await client.importDocuments(libraryId, documents);
  await underWay(client, jobId);

  const ended = client.wait(jobId);
  const asked = performance.now();
  const answer = await client.cancel(jobId, { reason: "enough" });
  assert.ok(answer.cancelRequested);
  const job = await ended;
  const tookMs = performance.now() - asked;
  t.diagnostic(`cancelled after ${Math.round(tookMs)} ms`);

  assert.equal(job.status, JobStatus.JOB_STATUS_CANCELLED);
  // The bound for the handler is 250 ms; the journal and the watch come on top.
  assert.ok(tookMs < 1_000, `${tookMs} ms`);
  const result = job.result?.result;
  assert.equal(result?.$case, "batchImport");
  const library = await client.getLibrary(libraryId);
  assert.ok(result.value.imported > 0n && result.value.imported < BigInt(documents.length));
  assert.equal(library.documentCount, result.value.imported);
  assert.equal(library.chunkCount, result.value.totalChunks);
  assert.deepEqual((await client.cancel(jobId)).revision, job.revision, "cancelling again changes nothing");
});

test("a deleted library fails its jobs with LIBRARY_NOT_FOUND, without a retry", async (t) => {
  const { client } = await start(t, {
    temporary: true,
    settings: { ARRW_IMPORT_BATCH_CHUNKS: 16, ARRW_WORKER_SLOTS: 1 },
  });
  const { libraryId } = await client.createLibrary({ name: "deleted" });
  const running = await client.importDocuments(libraryId, realDocuments(5_000, 2));
  const waiting = await client.importDocuments(libraryId, realDocuments(10, 3));
  await underWay(client, running.jobId);
  await client.deleteLibrary(libraryId);
  for (const { jobId } of [running, waiting]) {
    const job = await client.wait(jobId);
    assert.equal(job.status, JobStatus.JOB_STATUS_FAILED);
    assert.equal(job.error?.code, "LIBRARY_NOT_FOUND");
    assert.equal(job.retries, 0);
  }
  await assert.rejects(client.getLibrary(libraryId), { code: "NOT_FOUND", reason: "LIBRARY_NOT_FOUND" });
});

test("a second start finds libraries, documents and jobs again; importing again replaces", async (t) => {
  const env = { ...process.env, ARRW_DATA_DIR: await tempDir(t) };
  const ports = {
    ARRW_NATS_PORT: 0,
    ARRW_GATEWAY_GRPC_PORT: 0,
    ARRW_GATEWAY_HTTP_PORT: 0,
    ARRW_SCHEDULER_GRPC_PORT: 0,
    ARRW_SCHEDULER_HTTP_PORT: 0,
    ARRW_WORKER_HTTP_PORT: 0,
    ARRW_INDEX_GRPC_PORT: 0,
    ARRW_INDEX_HTTP_PORT: 0,
  };
  const documents = realDocuments(300, 4);
  const first = await start(t, { env, settings: ports });
  const { libraryId } = await first.client.createLibrary({ name: "kept" });
  const before = await first.client.wait((await first.client.importDocuments(libraryId, documents)).jobId);
  const scheduled = await first.client.submit({
    runAt: new Date(Date.now() + 3_600_000),
    spec: { spec: { $case: "echo", value: { message: "later" } } },
  });
  const library = await first.client.getLibrary(libraryId);
  first.client.close();
  await first.system.stop();

  const { client } = await start(t, { env, settings: ports });
  assert.deepEqual(await client.get(before.jobId), before);
  assert.equal((await client.get(scheduled.jobId)).status, JobStatus.JOB_STATUS_SCHEDULED);
  const text = documents[7]?.texts?.[0] ?? "";
  const { hits } = await client.search("kept", text, { k: 1, includeText: true });
  assert.equal(hits[0]?.text, text);

  await client.wait((await client.importDocuments(libraryId, documents)).jobId);
  const again = await client.getLibrary(libraryId);
  assert.deepEqual([again.documentCount, again.chunkCount], [library.documentCount, library.chunkCount]);
});
