import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { type Job, type JobItem, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { arrw } from "../support/arrw.ts";
import { eventually } from "../support/eventually.ts";

const { JOB_STATUS_COMPLETED: COMPLETED } = JobStatus;

async function start(t: TestContext, settings: Record<string, string | number> = {}) {
  const system = await startSystem({ temporary: true, syncAlways: false, settings });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address });
  t.after(() => client.close());
  return { address: system.address, client };
}

function resultOf<K extends "batchImport" | "batchDelete">(job: Job, kind: K) {
  assert.equal(job.status, COMPLETED, `${job.error?.code} ${job.error?.message}`);
  const result = job.result?.result;
  assert.ok(result?.$case === kind);
  return result.value as Extract<typeof result, { $case: K }>["value"];
}

async function itemsOf(client: ArrwClient, jobId: string, outcome?: "ok" | "failed"): Promise<JobItem[]> {
  const items: JobItem[] = [];
  for await (const item of client.jobItems(jobId, outcome ? { outcome } : {})) items.push(item);
  return items;
}

test("an import onto documents that are there replaces their chunks in searches, too", async (t) => {
  const { client } = await start(t);
  const { libraryId } = await client.createLibrary({ name: "upsert" });
  const first = ["the quick brown fox", "jumps over it", "and is gone"];
  const documents = [
    { documentId: "a", title: "first", texts: first },
    { documentId: "b", texts: ["something else entirely"] },
  ];
  await client.wait((await client.importDocuments(libraryId, documents)).jobId);
  const again = [
    { documentId: "a", title: "second", texts: ["zebras graze in the savannah"] },
    { documentId: "bad", title: "no texts", texts: [] },
  ];
  const job = await client.wait((await client.importDocuments(libraryId, again)).jobId);
  const { imported, failed, totalChunks } = resultOf(job, "batchImport");
  assert.deepEqual([imported, failed, totalChunks], [1n, 1n, 1n]);
  const library = await client.getLibrary(libraryId);
  assert.deepEqual([library.documentCount, library.chunkCount], [2n, 2n]);
  for (const exact of [false, true]) {
    for (const text of first) {
      const { hits } = await client.search(libraryId, text, { k: 10, includeText: true, exact });
      assert.equal(hits.length, 2);
      assert.ok(!hits.some((hit) => first.includes(hit.text)), "a replaced chunk was found");
    }
    const { hits } = await client.search(libraryId, "zebras graze", { k: 1, exact });
    assert.equal(hits[0]?.chunkId, "a#0");
  }
  const items = await itemsOf(client, job.jobId);
  assert.deepEqual(
    items.map(({ ordinal, documentId, title, outcome, error }) => [
      Number(ordinal),
      documentId,
      title,
      outcome,
      error?.code ?? "",
    ]),
    [
      [0, "a", "second", "ok", ""],
      [1, "bad", "no texts", "failed", "INVALID_DOCUMENT"],
    ],
  );
});

test("deletions go by ids and by filter, beside imports; failed ids run again alone; items go with their job", async (t) => {
  const { client } = await start(t, { ARRW_IMPORT_BATCH_CHUNKS: 64 });
  const { libraryId } = await client.createLibrary({ name: "delete" });
  const documents = (from: number, count: number) =>
    Array.from({ length: count }, (_, n) => ({
      documentId: `doc-${String(from + n).padStart(6, "0")}`,
      texts: [`this is the text of document ${from + n}`],
      metadata: { half: (from + n) % 2 },
    }));
  await client.wait((await client.importDocuments(libraryId, documents(0, 3_000))).jobId);
  const importing = await client.importDocuments(libraryId, documents(100_000, 2_000));
  const documentIds = [...documents(0, 1_500).map((each) => each.documentId), "missing"];
  const byIds = await client.deleteDocuments(libraryId, { documentIds });
  assert.deepEqual(byIds.spec?.spec, {
    $case: "batchDelete",
    value: { documentIds: [], filter: undefined, _unknownFields: {} },
  });
  const test = { $case: "equals" as const, value: 1 };
  const filter = {
    all: [
      { field: "metadata.half", test },
      { field: "document_id", test: { $case: "exists" as const, value: true } },
    ],
  };
  const deleted = await client.wait(byIds.jobId);
  assert.deepEqual(
    [resultOf(deleted, "batchDelete").deleted, resultOf(deleted, "batchDelete").failed],
    [1_500n, 1n],
  );
  assert.deepEqual(
    (await itemsOf(client, byIds.jobId, "failed")).map(({ documentId, error }) => [documentId, error?.code]),
    [["missing", "DOCUMENT_NOT_FOUND"]],
  );
  resultOf(await client.wait(importing.jobId), "batchImport");
  const filtered = await client.wait((await client.deleteDocuments(libraryId, { filter })).jobId);
  assert.equal(resultOf(filtered, "batchDelete").deleted, 750n + 1_000n);
  assert.equal((await client.getLibrary(libraryId)).documentCount, 750n + 1_000n);

  await assert.rejects(client.retry(filtered.jobId, { failedItemsOnly: true }), {
    code: "FAILED_PRECONDITION",
    reason: "NO_FAILED_ITEMS",
  });
  await client.wait(
    (await client.importDocuments(libraryId, [{ documentId: "missing", texts: ["x"] }])).jobId,
  );
  await client.retry(byIds.jobId, { failedItemsOnly: true });
  const retried = resultOf(await client.wait(byIds.jobId), "batchDelete");
  assert.deepEqual([retried.deleted, retried.failed], [1_501n, 0n]);
  assert.equal((await client.getLibrary(libraryId)).documentCount, 750n + 1_000n);
  const items = await itemsOf(client, byIds.jobId);
  assert.deepEqual(
    items.map(({ documentId, outcome }) => [documentId, outcome]),
    documentIds.map((id) => [id, "ok"]),
  );
  await client.delete(byIds.jobId);
  await assert.rejects(client.jobItems(byIds.jobId).next(), { code: "NOT_FOUND" });
});

test("arrw delete, arrw jobs items, arrw jobs retry --failed-items", async (t) => {
  const { client, address } = await start(t);
  const { libraryId } = await client.createLibrary({ name: "cli" });
  const documents = ["a", "b", "c", "d"].map((documentId) => ({
    documentId,
    texts: [`text of ${documentId}`],
    metadata: { year: documentId === "d" ? 1999 : 2024 },
  }));
  await client.wait((await client.importDocuments(libraryId, documents)).jobId);
  const byIds = await arrw(address, ["delete", "cli", "a", "nobody", "--watch"]);
  assert.equal(byIds.code, 0, byIds.stderr);
  assert.match(byIds.stdout, /deleting 2 documents, job /);
  assert.match(byIds.stdout, /1 document deleted, 1 not there/);
  const jobId = /job ([0-9a-f-]{36})/.exec(byIds.stdout)?.[1] ?? "";

  const items = await arrw(address, ["jobs", "items", jobId, "--failed"]);
  assert.match(items.stdout, /1 +failed +nobody +DOCUMENT_NOT_FOUND: /);
  const json = await arrw(address, ["jobs", "items", jobId, "--json"]);
  const outcomes = json.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).outcome);
  assert.deepEqual(outcomes, ["ok", "failed"]);

  const fromStdin = await arrw(address, ["delete", "cli", "--ids-from", "-", "--watch"], "b\n\nnope\r\n");
  assert.match(fromStdin.stdout, /1 document deleted, 1 not there/);
  const byFilter = await arrw(address, ["delete", "cli", "--filter", "metadata.year>=2000", "--watch"]);
  assert.match(byFilter.stdout, /1 document deleted/);
  assert.equal((await client.getLibrary("cli")).documentCount, 1n);

  await client.wait(
    (await client.importDocuments(libraryId, [{ documentId: "nobody", texts: ["x"] }])).jobId,
  );
  const retry = await arrw(address, ["jobs", "retry", jobId, "--failed-items"]);
  assert.equal(retry.code, 0, retry.stderr);
  const job = await eventually(async () => {
    const current = await client.get(jobId);
    return current.status === COMPLETED ? current : undefined;
  });
  assert.equal(resultOf(job, "batchDelete").deleted, 2n);
  const wrong = await arrw(address, ["delete", "cli", "a", "--filter", "author=ada"]);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /one of the three/);
});
