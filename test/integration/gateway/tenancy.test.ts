import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { JobStatus } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import { reversed } from "../../support/reversed.ts";
import { METHODS, type Method, shown, TABLE, type Target } from "../../support/tenancy-table.ts";
import { type MethodShape, startTenants, type Tenant } from "../../support/tenants.ts";

/** Two tenants and one who sees all, on everything that the other tenant has. */

describe("tenancy", { timeout: 120_000 }, () => {
  const cleanup: (() => Promise<void> | void)[] = [];
  let tenants: Record<"anna" | "ben" | "root", Tenant>;
  let bens: Target;
  after(async () => {
    for (const run of cleanup.reverse()) await run();
  });

  const importInto = async ({ client }: Tenant, library: string, ids: readonly string[]): Promise<string> => {
    const documents = ids.map((documentId) => ({ documentId, texts: [`some text of ${documentId}`] }));
    const { jobId } = await client.importDocuments(library, documents);
    await client.wait(jobId);
    return jobId;
  };

  before(async () => {
    const started = await startTenants(reversed({ after: (run) => void cleanup.push(run) }), {
      anna: ["a-*"],
      ben: ["b-*"],
      root: undefined,
    });
    tenants = started.tenants;
    const { anna, ben, root } = tenants;
    for (const libraryId of ["a-docs", "a-more"]) await anna.client.createLibrary({ libraryId });
    await root.client.createLibrary({ libraryId: "b-docs", name: "beta" });
    await importInto(anna, "a-docs", ["mine"]);
    const importJob = await importInto(ben, "beta", ["first", "both"]);
    const { jobId: exportJob } = await ben.client.exportLibrary("b-docs");
    await ben.client.wait(exportJob);
    bens = { library: "b-docs", importJob, exportJob };
  });

  test("every method has a row, and every row is of a method", () => {
    assert.deepEqual(Object.keys(TABLE).sort(), Object.keys(METHODS).sort());
  });

  test("what is another's is answered as what is not there, by id and by name", async () => {
    const nowhere = { library: "b-nope", importJob: uuidv7(), exportJob: uuidv7() };
    for (const [name, row] of Object.entries(TABLE)) {
      if (typeof row === "string") continue;
      const method = METHODS[name as Method] as unknown as MethodShape;
      const answers = new Set<string>();
      for (const target of [nowhere, bens, { ...bens, library: "beta" }]) {
        const outcome = await tenants.anna.call(method, row.fields(target));
        answers.add(shown(outcome, target));
        if (row.answer === "same") assert.ok(outcome.messages, `${name}: ${shown(outcome, target)}`);
        else assert.equal(outcome.error?.code, row.answer, `${name}: ${shown(outcome, target)}`);
      }
      assert.equal(answers.size, 1, `${name}: ${[...answers].join("\n")}`);
    }
    const created = await tenants.anna.call(METHODS.createLibrary as unknown as MethodShape, {
      libraryId: "a-new",
      name: "beta",
    });
    assert.equal(created.error?.reason, "LIBRARY_NOT_ALLOWED");
  });

  test("names are no way around, and clients make libraries of their own alone", async () => {
    const { anna, root } = tenants;
    await root.client.createLibrary({ libraryId: "c-docs", name: "a-looks-like-annas" });
    await assert.rejects(anna.client.getLibrary("a-looks-like-annas"), { reason: "LIBRARY_NOT_FOUND" });
    await anna.client.createLibrary({ libraryId: "a-named", name: "a-name" });
    assert.equal((await anna.client.getLibrary("a-name")).libraryId, "a-named");
    await anna.client.deleteLibrary("a-name");
    for (const request of [
      { libraryId: "a-x", name: "x" },
      { libraryId: "x" },
      { libraryId: "a-x", name: "b-docs" },
    ])
      await assert.rejects(anna.client.createLibrary(request), { reason: "LIBRARY_NOT_ALLOWED" });
    const echo = { spec: { spec: { $case: "echo" as const, value: { message: "hi" } } } };
    await assert.rejects(anna.client.submit(echo), { code: "PERMISSION_DENIED", reason: "LIBRARY_REQUIRED" });
    const [result] = await anna.client.submitAll([echo]);
    assert.ok(result?.outcome?.$case === "error");
    assert.match(result.outcome.value.message, /with a library of its own/);
  });

  test("a request_id is each tenant's own, and so is a concurrency_key", async () => {
    const { anna, ben, root } = tenants;
    const request = (libraryId: string) => ({
      requestId: "monday",
      libraryId,
      concurrencyKey: "nightly",
      spec: { spec: { $case: "indexOptimize" as const, value: {} } },
    });
    const [hers, his, theirs] = await Promise.all([
      anna.client.submit(request("a-docs")),
      ben.client.submit(request("b-docs")),
      root.client.submit(request("b-docs")),
    ]);
    assert.equal(new Set([hers.jobId, his.jobId, theirs.jobId]).size, 3);
    assert.equal((await anna.client.submit(request("a-docs"))).jobId, hers.jobId);
    await assert.rejects(ben.client.submit({ ...request("b-docs"), maxRetries: 1 }), (error: Error) => {
      assert.match(error.message, new RegExp(his.jobId));
      return true;
    });
    for (const { jobId } of [hers, his, theirs]) await root.client.wait(jobId);
  });

  test("lists, totals and bulk changes are of what is seen", async () => {
    const { anna, ben, root } = tenants;
    const echo = { spec: { spec: { $case: "echo" as const, value: { message: "root's" } } } };
    await root.client.wait((await root.client.submit(echo)).jobId);
    const names = async ({ client }: Tenant): Promise<string[]> => {
      const all: string[] = [];
      for await (const { libraryId } of client.libraries()) all.push(libraryId);
      return all.sort();
    };
    assert.deepEqual(await names(anna), ["a-docs", "a-more"]);
    assert.deepEqual(await names(ben), ["b-docs"]);
    assert.deepEqual(await names(root), ["a-docs", "a-more", "b-docs", "c-docs"]);
    const first = await anna.client.listLibraries({ pageSize: 1 });
    assert.deepEqual([first.libraries.length, first.nextPageToken !== ""], [1, true]);

    const hers = await anna.client.list({ pageSize: 1_000 });
    assert.ok(hers.jobs.length > 0 && hers.jobs.every(({ libraryId }) => libraryId.startsWith("a-")));
    assert.equal(hers.totalSize, BigInt(hers.jobs.length));
    const all = await root.client.list({ pageSize: 1_000 });
    const expected = all.jobs.filter(({ libraryId }) => libraryId.startsWith("a-"));
    assert.deepEqual(
      hers.jobs.map(({ jobId }) => jobId),
      expected.map(({ jobId }) => jobId),
    );
    const paged: string[] = [];
    for (let pageToken = ""; ; ) {
      const page = await anna.client.list({ pageSize: 1, pageToken });
      paged.push(...page.jobs.map(({ jobId }) => jobId));
      pageToken = page.nextPageToken;
      if (pageToken === "") break;
      await assert.rejects(ben.client.list({ pageSize: 1, pageToken }), { code: "INVALID_ARGUMENT" });
    }
    assert.deepEqual(
      paged,
      hers.jobs.map(({ jobId }) => jobId),
    );
    const stats = await anna.client.stats();
    assert.equal(stats.totalJobs, hers.totalSize);
    assert.equal((await root.client.stats()).totalJobs, all.totalSize);
    assert.ok(!stats.byType.some(({ type }) => type === "echo"));

    const later = { runAt: new Date(Date.now() + 3_600_000), maxRetries: 0 };
    const spec = { spec: { $case: "indexOptimize" as const, value: {} } };
    const hersLater = await anna.client.submit({ ...later, libraryId: "a-docs", spec });
    const hisLater = await ben.client.submit({ ...later, libraryId: "b-docs", spec });
    const cancelled = await anna.client.cancelJobs({ all: true });
    assert.deepEqual([cancelled.changedJobs, cancelled.hasMore], [1n, false]);
    assert.equal((await root.client.get(hersLater.jobId)).status, JobStatus.JOB_STATUS_CANCELLED);
    assert.equal((await root.client.get(hisLater.jobId)).status, JobStatus.JOB_STATUS_SCHEDULED);
    await ben.client.cancelJobs({ all: true });
  });

  test("a watch of all jobs shows those that are seen, deleted ones too", async () => {
    const { anna, ben } = tenants;
    const { cursor } = await anna.client.list({ pageSize: 1 });
    const spec = { spec: { $case: "indexOptimize" as const, value: {} } };
    const his = await ben.client.submit({ libraryId: "b-docs", spec });
    await ben.client.wait(his.jobId);
    await ben.client.delete(his.jobId);
    const hers = await anna.client.submit({ libraryId: "a-docs", spec });
    await anna.client.wait(hers.jobId);
    await anna.client.delete(hers.jobId);
    const seen: string[] = [];
    for await (const { event, job } of anna.client.watchJobs({ afterCursor: cursor })) {
      assert.equal(job?.jobId, hers.jobId);
      seen.push(event);
      if (event === "job.deleted") break;
    }
    assert.deepEqual([seen[0], seen.at(-1)], ["job.submitted", "job.deleted"]);
  });

  test("a deletion without a library stays within what is seen; its job needs all of its libraries to be", async () => {
    const { anna, ben, root } = tenants;
    await importInto(anna, "a-docs", ["both", "twice"]);
    await importInto(anna, "a-more", ["twice", "other"]);
    const remove = async ({ client }: Tenant, documentIds: string[]) => {
      const value = { documentIds };
      const { jobId } = await client.submit({ spec: { spec: { $case: "batchDelete", value } } });
      const job = await client.wait(jobId);
      const items: string[] = [];
      for await (const { documentId, outcome, error, libraryId } of client.jobItems(jobId))
        items.push(`${documentId} ${outcome} ${error?.code ?? libraryId}`);
      return { job, items };
    };
    // "first" is ben's, and "both" is his as well: to her neither is there.
    const hers = await remove(anna, ["both", "first", "twice"]);
    assert.deepEqual(hers.items, [
      "both ok a-docs",
      "first failed DOCUMENT_NOT_FOUND",
      "twice failed AMBIGUOUS",
    ]);
    assert.deepEqual(hers.job.libraryIds, ["a-docs", "a-more"]);
    assert.equal((await ben.client.getLibrary("b-docs")).documentCount, 2n);
    const nothing = await remove(anna, ["first"]);
    assert.deepEqual(
      [nothing.items, nothing.job.libraryIds],
      [["first failed DOCUMENT_NOT_FOUND"], ["a-docs"]],
    );
    const inOne = await anna.client.list({ filter: { types: ["batch_delete"], libraryId: "a-docs" } });
    assert.deepEqual([inOne.jobs.length, inOne.totalSize], [0, 0n]);
    const listed = await anna.client.list({ filter: { types: ["batch_delete"] } });
    assert.deepEqual(
      [listed.jobs.map(({ jobId }) => jobId), listed.totalSize],
      [[nothing.job.jobId, hers.job.jobId], 2n],
    );

    const everywhere = await remove(root, ["mine", "both"]);
    assert.deepEqual(everywhere.items, ["mine ok a-docs", "both ok b-docs"]);
    for (const { client } of [anna, ben]) {
      const { jobId } = everywhere.job;
      await assert.rejects(client.get(jobId), { reason: "JOB_NOT_FOUND" });
      assert.ok(!(await client.list({ pageSize: 1_000 })).jobs.some((job) => job.jobId === jobId));
    }
    assert.equal((await anna.client.list()).totalSize, BigInt((await anna.client.list()).jobs.length));
  });

  test("what is one's own is there, in every row", async () => {
    for (const [name, row] of Object.entries(TABLE)) {
      if (typeof row === "string" || row.answer === "PERMISSION_DENIED") continue;
      const outcome = await tenants.ben.call(
        METHODS[name as Method] as unknown as MethodShape,
        row.fields(bens),
      );
      assert.notEqual(outcome.error?.code, "NOT_FOUND", `${name}: ${shown(outcome, bens)}`);
      assert.notEqual(outcome.error?.code, "INVALID_ARGUMENT", `${name}: ${shown(outcome, bens)}`);
    }
    assert.equal((await tenants.anna.client.getLibrary("a-docs")).libraryId, "a-docs");
  });
});
