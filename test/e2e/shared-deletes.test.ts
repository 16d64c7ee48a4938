import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { connect, unary } from "../../platform/grpc/client.ts";
import { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import { type Job, JobStatus } from "../../proto/gen/arrwdb/v1/jobs.ts";

/** Deletions that name no library. */

async function start(t: TestContext, settings: Record<string, string | number> = {}) {
  const system = await startSystem({ temporary: true, syncAlways: false, settings });
  t.after(() => system.stop());
  const client = new ArrwClient({ address: system.address });
  t.after(() => client.close());
  return { system, client };
}

const named = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, n) => `${prefix}-${n}`);

async function fill(client: ArrwClient, library: string, ids: readonly string[]): Promise<void> {
  const documents = ids.map((documentId) => ({ documentId, title: `of ${library}`, texts: [documentId] }));
  await client.wait((await client.importDocuments(library, documents)).jobId);
}

const remove = (client: ArrwClient, documentIds: readonly string[]): Promise<Job> =>
  client.submit({ spec: { spec: { $case: "batchDelete", value: { documentIds: [...documentIds] } } } });

async function outcomesOf(client: ArrwClient, jobId: string): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for await (const { outcome, error, libraryId } of client.jobItems(jobId)) {
    const what = `${outcome} ${error?.code ?? libraryId}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }
  return counts;
}

function countsOf({ status, result, error }: Job): [bigint, bigint] {
  assert.equal(status, JobStatus.JOB_STATUS_COMPLETED, error?.message);
  assert.ok(result?.result?.$case === "batchDelete");
  return [result.result.value.deleted, result.result.value.failed];
}

test("a worker that is killed in the middle: each id goes where it alone is, and counts once; the dead one is shut out of every library", async (t) => {
  const { system, client } = await start(t, { ARRW_LEASE_TIMEOUT_MS: 2_000 });
  for (const libraryId of ["one", "two", "elsewhere"]) await client.createLibrary({ libraryId });
  const both = named("both", 200);
  await fill(client, "one", [...named("one", 2_900), ...both]);
  await fill(client, "two", [...named("two", 2_900), ...both]);
  await fill(client, "elsewhere", ["unasked"]);
  // Each batch has some of all.
  const ids = [...named("one", 2_900), ...named("two", 2_900), ...both, ...named("none", 200)].sort((a, b) =>
    (a.split("-")[1] ?? "") < (b.split("-")[1] ?? "") ? -1 : 1,
  );
  const { jobId, libraryIds, libraryId } = await remove(client, ids);
  assert.deepEqual([libraryId, libraryIds], ["", ["one", "two"]]);
  for await (const job of client.watch(jobId)) {
    if ((job.progress?.current ?? 0n) === 0n) continue;
    system.kill("worker");
    break;
  }
  const job = await client.wait(jobId);
  assert.deepEqual(countsOf(job), [5_800n, 400n]);
  assert.deepEqual(
    await outcomesOf(client, jobId),
    new Map([
      ["ok one", 2_900],
      ["failed AMBIGUOUS", 200],
      ["failed DOCUMENT_NOT_FOUND", 200],
      ["ok two", 2_900],
    ]),
  );
  const left = async (library: string) => (await client.getLibrary(library)).documentCount;
  assert.deepEqual([await left("one"), await left("two"), await left("elsewhere")], [200n, 200n, 1n]);
  const [lost] = job.attempts;
  assert.equal(lost?.outcome, "lost");
  const address = system.addresses.find(({ setting }) => setting === "ARRW_INDEX_GRPC_PORT")?.address ?? "";
  const index = connect(IndexServiceClient, address);
  t.after(() => index.close());
  for (const library of ["one", "two"]) {
    for (const attempt of job.attempts) {
      const fence = { jobId, lease: attempt.lease };
      const late = { libraryId: library, fence, documentIds: ["both-1"] };
      const call = { timeoutMs: 5_000 };
      await assert.rejects(unary(index, index.deleteDocuments, late, call), { reason: "LEASE_FENCED" });
      const begin = unary(index, index.beginLease, { libraryId: library, fence }, call);
      await assert.rejects(begin, { reason: "LEASE_FENCED" });
    }
  }
});

test("libraries that go meanwhile have nothing; failed ids run again alone", async (t) => {
  const { client } = await start(t);
  for (const libraryId of ["one", "two"]) await client.createLibrary({ libraryId });
  await fill(client, "one", ["a", "both", "later-both"]);
  await fill(client, "two", ["b", "both"]);
  await client.queues.pause("batch_delete");
  const { jobId, libraryIds } = await remove(client, ["a", "b", "both", "none"]);
  assert.deepEqual(libraryIds, ["one", "two"]);
  await client.deleteLibrary("two");
  await client.queues.resume("batch_delete");
  assert.deepEqual(countsOf(await client.wait(jobId)), [2n, 2n]);
  assert.equal((await client.getLibrary("one")).documentCount, 1n);

  await client.createLibrary({ libraryId: "two" });
  await fill(client, "two", ["later-both", "none"]);
  await client.retry(jobId, { failedItemsOnly: true });
  assert.deepEqual(countsOf(await client.wait(jobId)), [3n, 1n]);
  const twice = await remove(client, ["later-both"]);
  assert.deepEqual(countsOf(await client.wait(twice.jobId)), [0n, 1n]);
  await client.deleteDocument("two", "later-both");
  await client.retry(twice.jobId, { failedItemsOnly: true });
  assert.deepEqual(countsOf(await client.wait(twice.jobId)), [1n, 0n]);
  assert.equal((await client.getLibrary("one")).documentCount, 0n);

  const nowhere = await remove(client, ["nobody", "no one"]);
  assert.deepEqual(nowhere.libraryIds, []);
  assert.deepEqual(countsOf(await client.wait(nowhere.jobId)), [0n, 2n]);
  const filter = { all: [{ field: "title", test: { $case: "exists" as const, value: true } }] };
  for (const value of [{ filter }, { documentIds: named("x", 10_001) }])
    await assert.rejects(client.submit({ spec: { spec: { $case: "batchDelete", value } } }), {
      code: "INVALID_ARGUMENT",
    });
});
