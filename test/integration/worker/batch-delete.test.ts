import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { delimited } from "../../../platform/delimited.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { DocumentUpsert } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { Document, type Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import { BatchDeleteSpec, type JobResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BatchDelete } from "../../../services/worker/handlers/batch-delete.ts";
import { eventually } from "../../support/eventually.ts";
import { shown, storedItems } from "../../support/job-items.ts";
import { startTestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";
import { FakeScheduler } from "./fake-scheduler.ts";
import { reversed, startHarness } from "./harness.ts";
import { fenced, MemoryIndex } from "./memory-index.ts";
import { startWorkerProcess } from "./worker-process.ts";

interface Deletions {
  readonly scheduler: FakeScheduler;
  readonly index: MemoryIndex;
  readonly objects: JetStreamObjects;
}

async function startDeletions(test: Cleanup): Promise<Deletions> {
  const t = reversed(test);
  const index = await MemoryIndex.start(t);
  const { scheduler } = await startHarness(t, {
    indexAddress: index.address,
    cancelGraceMs: 5_000,
    register: (handlers, nats, client) => {
      handlers.add(new BatchDelete({ index: client, objects: new JetStreamObjects(nats), nats }));
    },
  });
  return { scheduler, index, objects: new JetStreamObjects(scheduler.nats) };
}

const name = (n: number): string => `doc-${String(n).padStart(5, "0")}`;
const names = (count: number, from = 0): string[] => Array.from({ length: count }, (_, n) => name(from + n));

function fill(index: MemoryIndex, ids: readonly string[], author = ""): void {
  for (const documentId of ids) {
    const document = Document.fromPartial({ documentId, title: `title of ${documentId}`, author });
    index.documents.set(documentId, DocumentUpsert.fromPartial({ document }));
  }
}

async function idsGrant(
  { scheduler, index, objects }: Deletions,
  ids: readonly string[],
): Promise<LeaseGrant> {
  const jobId = uuidv7();
  await objects.put(
    jobId,
    ids.map((id) => delimited(Buffer.from(id))),
  );
  return scheduler.grant({
    jobId,
    type: "batch_delete",
    libraryId: index.libraryId,
    payloadObject: jobId,
    itemCount: BigInt(ids.length),
    spec: { spec: { $case: "batchDelete", value: BatchDeleteSpec.fromPartial({}) } },
    run: 1,
  });
}

const byAuthor = (author: string): Filter => ({
  all: [{ field: "author", test: { $case: "equals", value: author } }],
});

function filterGrant({ scheduler, index }: Deletions, filter: Filter): LeaseGrant {
  return scheduler.grant({
    jobId: uuidv7(),
    type: "batch_delete",
    libraryId: index.libraryId,
    spec: { spec: { $case: "batchDelete", value: { documentIds: [], filter } } },
    run: 1,
  });
}

function countsOf(result: JobResult | undefined): number[] {
  assert.ok(result?.result?.$case === "batchDelete");
  return [Number(result.result.value.deleted), Number(result.result.value.failed)];
}

function completedCounts(outcome: NonNullable<Outcome["outcome"]>): number[] {
  assert.ok(
    outcome.$case === "completed",
    JSON.stringify(outcome, (_, v) => (typeof v === "bigint" ? Number(v) : v)),
  );
  return countsOf(outcome.value.result);
}

/** The last checkpoint that a lease has published. */
function checkpointOf(scheduler: FakeScheduler, lease: bigint): Buffer {
  const outcomes = scheduler.outcomesOf(lease).flatMap(({ outcome }) => (outcome ? [outcome] : []));
  const last = outcomes.findLast((each) => each.$case === "checkpoint");
  return last?.$case === "checkpoint" ? last.value.data : Buffer.alloc(0);
}

/** The next lease of the same job. */
function again(scheduler: FakeScheduler, grant: LeaseGrant, fields: Partial<LeaseGrant> = {}): LeaseGrant {
  const { lease } = scheduler.grant();
  return { ...grant, lease, leasesBefore: grant.leasesBefore + 1, grantedAt: new Date(), ...fields };
}

test("ids go in batches; unknown ones and second turns fail, and are told", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  fill(index, names(2_500));
  const ids = [...names(1_100), "nobody", name(0), ...names(1_400, 1_100)];
  const grant = await idsGrant(deletions, ids);
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.deepEqual(completedCounts(outcome), [2_500, 2]);
  assert.equal(index.documents.size, 0);
  assert.deepEqual(
    index.deletes.map((batch) => batch.length),
    [1_000, 998, 502],
  );
  assert.ok(outcome.$case === "completed");
  assert.equal(outcome.value.progress?.message, "2,500 documents deleted, 2 not there");
  assert.equal(outcome.value.progress?.current, 2_502n);
  const items = shown(await storedItems(scheduler.nats, grant.jobId));
  assert.deepEqual(
    items,
    ids.map((id, n) => [n, id, n === 1_100 || n === 1_101 ? "DOCUMENT_NOT_FOUND" : "ok"]),
  );
});

test("a filter takes what passes it, in one pass, and nothing else", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  fill(index, names(1_500), "ada");
  fill(index, names(20, 9_000), "bob");
  // Written while the job runs: one behind the pass, one before it.
  index.onDeleted = () => {
    if (index.deletes.length > 1) return;
    fill(index, ["a-first", "z-last"], "ada");
  };
  const grant = filterGrant(deletions, byAuthor("ada"));
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [1_501, 0]);
  assert.deepEqual([...index.documents.keys()].sort(), ["a-first", ...names(20, 9_000)]);
  const items = await storedItems(scheduler.nats, grant.jobId);
  assert.equal(items.length, 1_501);
  assert.deepEqual(shown(items.slice(-1)), [[1_500, "z-last", "ok"]]);
  assert.equal(items[0]?.title, "title of doc-00000");
});

test("a worker that is killed between a deletion and its checkpoint: nothing it removed counts as failed", async (test) => {
  const t = reversed(test);
  const server = await startTestNats(t);
  const scheduler = await FakeScheduler.start(t, server.url);
  const index = await MemoryIndex.start(t);
  const objects = new JetStreamObjects(scheduler.nats);
  const settings = { ARRW_INDEX_ADDRESS: index.address };
  const deletions = { scheduler, index, objects };
  fill(index, names(1_500), "ada");
  fill(index, names(1_500, 5_000), "bob");
  const cases = [
    { grant: await idsGrant(deletions, [...names(1_500), "nobody"]), counts: [1_500, 1] },
    { grant: filterGrant(deletions, byAuthor("bob")), counts: [1_500, 0] },
  ];
  for (const { grant, counts } of cases) {
    const before = index.deletes.length;
    let applied = false;
    index.onDeleted = (_request, signal) => {
      if (index.deletes.length - before !== 2) return;
      applied = true;
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
    };
    scheduler.heartbeats.length = 0;
    const worker = await startWorkerProcess(t, server.url, settings);
    await scheduler.workerId();
    await scheduler.assign([grant]);
    await eventually(() => applied, { what: "the second batch is deleted", timeoutMs: 20_000 });
    worker.child.kill("SIGKILL");
    await worker.exited;
    index.onDeleted = () => undefined;
    const inFlight = shown(await storedItems(scheduler.nats, grant.jobId)).filter(([, , end]) => end === "");
    assert.equal(inFlight.length, 500);

    scheduler.heartbeats.length = 0;
    const next = await startWorkerProcess(t, server.url, settings);
    await scheduler.workerId();
    const second = again(scheduler, grant, { checkpoint: checkpointOf(scheduler, grant.lease) });
    await scheduler.assign([second]);
    assert.deepEqual(completedCounts(await scheduler.outcomeOf(second.lease, 20_000)), counts);
    const ends = shown(await storedItems(scheduler.nats, grant.jobId)).map(([, , end]) => end);
    assert.equal(ends.filter((end) => end === "ok").length, 1_500);
    assert.equal(ends.length, Number(grant.itemCount) || 1_500);
    next.child.kill("SIGKILL");
    await next.exited;
  }
  assert.equal(index.documents.size, 0);
});

test("cancel stops within 250 ms; what is removed is counted; from there the rest goes", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  fill(index, names(5_000));
  index.onDeleted = () => new Promise((resolve) => setTimeout(resolve, 60));
  const grant = await idsGrant(deletions, names(5_000));
  await scheduler.assign([grant]);
  await eventually(() => index.deletes.length >= 2, { what: "two batches" });
  const askedAtMs = performance.now();
  await scheduler.cancel([grant.lease]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(performance.now() - askedAtMs < 250);
  assert.ok(outcome.$case === "cancelled");
  assert.deepEqual(countsOf(outcome.value.partialResult), [5_000 - index.documents.size, 0]);
  index.onDeleted = () => undefined;
  const rest = again(scheduler, grant, { checkpoint: checkpointOf(scheduler, grant.lease), run: 2 });
  await scheduler.assign([rest]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(rest.lease)), [5_000, 0]);
});

test("a run of the failed ids removes those that are there by now, and counts over all runs", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  fill(index, names(1_200));
  const ids = ["late-1", ...names(1_200), "late-2", "never"];
  const grant = await idsGrant(deletions, ids);
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [1_200, 3]);
  // One that was removed came back: it is none of the failed ones.
  fill(index, ["late-1", "late-2", name(7)]);
  const failed = { failedItemsOnly: true, run: 2 };
  const second = again(scheduler, grant, failed);
  await scheduler.assign([second]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(second.lease)), [1_202, 1]);
  assert.deepEqual([...index.documents.keys()], [name(7)]);
  // A third one that is interrupted after its work repeats nothing and still has its counts.
  const third = again(scheduler, grant, { ...failed, run: 3, leasesBefore: 2 });
  await scheduler.assign([third]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(third.lease)), [1_202, 1]);
  const items = shown(await storedItems(scheduler.nats, grant.jobId));
  assert.deepEqual(items.at(-1), [1_202, "never", "DOCUMENT_NOT_FOUND"]);
  assert.equal(items.filter(([, , end]) => end === "ok").length, 1_202);
});

test("a run of failed ids that was killed after its deletion goes on without counting them twice", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  const grant = await idsGrant(deletions, ["x", "y"]);
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [0, 2]);
  fill(index, ["x", "y"]);
  index.onDeleted = () => {
    throw fenced();
  };
  const second = again(scheduler, grant, { failedItemsOnly: true, run: 2 });
  await scheduler.assign([second]);
  await eventually(() => index.deletes.length === 1, { what: "the deletion" });
  index.onDeleted = () => undefined;
  const third = again(scheduler, second, { checkpoint: checkpointOf(scheduler, second.lease) });
  await scheduler.assign([third]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(third.lease)), [2, 0]);
});

test("a run of failed ids without any fails, not retryably", async (t) => {
  const deletions = await startDeletions(t);
  const grant = await idsGrant(deletions, ["x"]);
  const failed = { ...grant, failedItemsOnly: true, run: 2 };
  await deletions.scheduler.assign([failed]);
  const outcome = await deletions.scheduler.outcomeOf(failed.lease);
  assert.ok(outcome.$case === "failed");
  assert.deepEqual([outcome.value.error?.code, outcome.value.error?.retryable], ["NO_FAILED_ITEMS", false]);
});

test("a job that begins anew forgets what became of its items", async (t) => {
  const deletions = await startDeletions(t);
  const { scheduler, index } = deletions;
  fill(index, names(600));
  const grant = await idsGrant(deletions, names(600));
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [600, 0]);
  const anew = again(scheduler, grant, { run: 2 });
  await scheduler.assign([anew]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(anew.lease)), [0, 600]);
});
