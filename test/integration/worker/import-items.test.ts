import assert from "node:assert/strict";
import { test } from "node:test";
import { v7 as uuidv7 } from "uuid";
import { delimited } from "../../../platform/delimited.ts";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { BatchImportSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BatchImport } from "../../../services/worker/handlers/batch-import.ts";
import { ItemOutcomes } from "../../../services/worker/item-outcomes.ts";
import { eventually } from "../../support/eventually.ts";
import { shown, storedItems } from "../../support/job-items.ts";
import type { Cleanup } from "../../support/temp.ts";
import type { FakeScheduler } from "./fake-scheduler.ts";
import { reversed, startHarness } from "./harness.ts";
import { away, fenced, MemoryIndex } from "./memory-index.ts";

interface Imports {
  readonly scheduler: FakeScheduler;
  readonly index: MemoryIndex;
}

async function startImports(test: Cleanup): Promise<Imports> {
  const t = reversed(test);
  const index = await MemoryIndex.start(t);
  const { scheduler } = await startHarness(t, {
    indexAddress: index.address,
    register: (handlers, nats, client) => {
      const objects = new JetStreamObjects(nats);
      handlers.add(
        new BatchImport({
          index: client,
          objects,
          nats,
          createProvider: (config) => createProvider(config),
          batchChunks: 100,
        }),
      );
    },
  });
  return { scheduler, index };
}

async function importGrant(imports: Imports, documents: readonly Document[]): Promise<LeaseGrant> {
  const { scheduler, index } = imports;
  const jobId = uuidv7();
  await new JetStreamObjects(scheduler.nats).put(
    jobId,
    documents.map((each) => delimited(Document.encode(each).finish())),
  );
  return scheduler.grant({
    jobId,
    type: "batch_import",
    libraryId: index.libraryId,
    payloadObject: jobId,
    itemCount: BigInt(documents.length),
    spec: { spec: { $case: "batchImport", value: BatchImportSpec.fromPartial({}) } },
    run: 1,
  });
}

function again(scheduler: FakeScheduler, grant: LeaseGrant, fields: Partial<LeaseGrant>): LeaseGrant {
  const { lease } = scheduler.grant();
  return { ...grant, lease, leasesBefore: grant.leasesBefore + 1, grantedAt: new Date(), ...fields };
}

/** Every tenth has no texts, every one of 25 has vectors of another library. */
function documents(count: number): Document[] {
  return Array.from({ length: count }, (_, n) => ({
    ...Document.fromPartial({ documentId: `doc-${n}`, title: `title ${n}` }),
    texts: n % 10 === 3 ? [] : [`text number ${n}`],
    vectors: n % 25 === 4 ? [{ values: [1, 2], packed: Buffer.alloc(0) }] : [],
  }));
}

const endOf = (n: number): string =>
  n % 10 === 3 ? "INVALID_DOCUMENT" : n % 25 === 4 ? "INVALID_VECTORS" : "ok";
const expected = (count: number): [number, string, string][] =>
  Array.from({ length: count }, (_, n) => [n, `doc-${n}`, endOf(n)]);

function completedCounts(outcome: NonNullable<Outcome["outcome"]>): number[] {
  assert.ok(outcome.$case === "completed", outcome.$case);
  const result = outcome.value.result?.result;
  assert.ok(result?.$case === "batchImport");
  return [result.value.imported, result.value.failed, result.value.totalChunks].map(Number);
}

test("each document's outcome is kept, with a code where it failed", async (t) => {
  const imports = await startImports(t);
  const { scheduler } = imports;
  const grant = await importGrant(imports, documents(700));
  await scheduler.assign([grant]);
  const ok = expected(700).filter(([, , end]) => end === "ok").length;
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [ok, 700 - ok, ok]);
  const items = await storedItems(scheduler.nats, grant.jobId);
  assert.deepEqual(shown(items), expected(700));
  assert.equal(items[3]?.title, "title 3");
  assert.match(items[3]?.error?.message ?? "", /no texts/);
  assert.equal(items[3]?.error?.retryable, false);
});

test("outcomes are there before the checkpoint that counts them; a repeated batch replaces its own", async (t) => {
  const imports = await startImports(t);
  const { scheduler, index } = imports;
  index.onUpsert = () => {
    if (index.upserts.length === 3) throw away();
  };
  const grant = await importGrant(imports, documents(700));
  await scheduler.assign([grant]);
  const saved = await eventually(() => {
    const all = scheduler.outcomesOf(grant.lease).flatMap(({ outcome }) => (outcome ? [outcome] : []));
    return all.flatMap((each) => (each.$case === "checkpoint" ? [each.value] : [])).at(2);
  });
  const { ordinal } = JSON.parse(saved.data.toString()) as { ordinal: number };
  assert.deepEqual(shown(await storedItems(scheduler.nats, grant.jobId)), expected(ordinal));
  scheduler.disowned.add(grant.lease);
  await scheduler.forgotten(grant.lease);
  index.onUpsert = () => undefined;
  // From an older point than the outcomes: some batches are done again.
  const second = again(scheduler, grant, { checkpoint: Buffer.alloc(0), attempt: 1 });
  await scheduler.assign([second]);
  await scheduler.outcomeOf(second.lease);
  assert.deepEqual(shown(await storedItems(scheduler.nats, grant.jobId)), expected(700));
});

test("a run of the failed documents imports those alone, and counts over all runs", async (t) => {
  const imports = await startImports(t);
  const { scheduler, index } = imports;
  index.provider = "none";
  index.dimensions = 2;
  const grant = await importGrant(imports, documents(700));
  await scheduler.assign([grant]);
  const withVectors = expected(700).filter(([, , end]) => end === "INVALID_VECTORS").length;
  const [imported, failed] = completedCounts(await scheduler.outcomeOf(grant.lease));
  assert.deepEqual([imported, failed], [withVectors, 700 - withVectors]);

  // The library embeds texts now; what was imported stays as it is.
  index.provider = "hashing";
  const before = index.upserts.length;
  const failedItems = { failedItemsOnly: true, run: 2 };
  const second = again(scheduler, grant, failedItems);
  index.onUpsert = () => {
    if (index.upserts.length === before + 2) throw fenced();
  };
  await scheduler.assign([second]);
  await eventually(() => index.events.at(-1) === "upsert" && index.upserts.length === before + 2, {
    what: "two batches",
  });
  index.onUpsert = () => undefined;
  const checkpoints = scheduler.outcomesOf(second.lease).flatMap(({ outcome }) => (outcome ? [outcome] : []));
  // Not from its last checkpoint: what was put right meanwhile is not done again.
  const [first] = checkpoints;
  assert.ok(first?.$case === "checkpoint");
  const third = again(scheduler, second, { checkpoint: first.value.data });
  await scheduler.assign([third]);
  const empty = expected(700).filter(([, , end]) => end === "INVALID_DOCUMENT").length;
  const counts = [700 - empty, empty, 700 - empty];
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(third.lease)), counts);
  const written = index.upserts.slice(before).flat();
  assert.equal(new Set(written).size, written.length, "no document was written twice");
  assert.equal(written.length, 700 - empty - withVectors);
  const ends = shown(await storedItems(scheduler.nats, grant.jobId)).map(([, , end]) => end);
  assert.equal(ends.filter((end) => end === "INVALID_DOCUMENT").length, empty);
  assert.equal(ends.filter((end) => end === "ok").length, 700 - empty);
});

test("an older lease never writes over the outcomes of a newer one", async (t) => {
  const { scheduler } = await startImports(t);
  const { nats } = scheduler;
  const jobId = uuidv7();
  const { signal } = new AbortController();
  const outcomes = (lease: bigint): ItemOutcomes => new ItemOutcomes({ nats, jobId, lease, signal });
  const item = (ordinal: number, documentId: string) =>
    ({ ordinal, documentId, title: "", outcome: "ok", error: undefined, chunks: 1 }) as const;
  const [older, newer] = [outcomes(1n), outcomes(2n)];
  await older.put([item(0, "old-0"), item(300, "old-300")]);
  await newer.put([item(0, "new-0"), item(1, "new-1")]);
  await assert.rejects(older.put([item(1, "old-1")]), { reason: "LEASE_FENCED" });
  // Where the newer one has not been, the older one may.
  await older.put([item(301, "old-301")]);
  await newer.put([item(301, "new-301")]);
  const items = shown(await storedItems(nats, jobId));
  assert.deepEqual(
    items.map(([, id]) => id),
    ["new-0", "new-1", "old-300", "new-301"],
  );
  assert.deepEqual(await newer.totals(), { ok: 4, failed: 0, chunks: 4 });
  await newer.clear();
  assert.deepEqual(await storedItems(nats, jobId), []);
  await newer.put([item(0, "again")]);
  assert.equal((await newer.totals()).ok, 1);
});
