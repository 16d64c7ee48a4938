import assert from "node:assert/strict";
import { test } from "node:test";
import { v5 as uuidv5, v7 as uuidv7 } from "uuid";
import { delimited } from "../../../platform/delimited.ts";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import { invalidArgument } from "../../../platform/errors.ts";
import { JetStreamObjects } from "../../../platform/nats/objects.ts";
import { Document } from "../../../proto/gen/arrwdb/v1/document.ts";
import { BatchImportSpec, type JobResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { BatchImport } from "../../../services/worker/handlers/batch-import.ts";
import { eventually } from "../../support/eventually.ts";
import type { Cleanup } from "../../support/temp.ts";
import { type Harness, reversed, startHarness } from "./harness.ts";
import { away, fenced, MemoryIndex } from "./memory-index.ts";

const BATCH_CHUNKS = 10;

interface ImportHarness extends Harness {
  readonly index: MemoryIndex;
  readonly objects: JetStreamObjects;
}

async function startImports(test: Cleanup): Promise<ImportHarness> {
  const t = reversed(test);
  const index = await MemoryIndex.start(t);
  const harness = await startHarness(t, {
    indexAddress: index.address,
    cancelGraceMs: 5_000,
    register: (handlers, nats, client) => {
      const objects = new JetStreamObjects(nats);
      handlers.add(
        new BatchImport({ index: client, objects, nats, createProvider, batchChunks: BATCH_CHUNKS }),
      );
    },
  });
  return { ...harness, index, objects: new JetStreamObjects(harness.scheduler.nats) };
}

const documentOf = (id: string, ...texts: string[]): Document => ({
  ...Document.fromPartial({ documentId: id }),
  texts,
});

const manyDocuments = (count: number): Document[] =>
  Array.from({ length: count }, (_, index) =>
    documentOf(`doc-${index}`, `This is the text number ${index}.`),
  );

/** Stores the payload and makes a grant for it. */
async function importGrant(
  { scheduler, objects, index }: ImportHarness,
  documents: readonly (Document | Uint8Array)[],
  fields: Partial<LeaseGrant> = {},
): Promise<LeaseGrant> {
  const jobId = uuidv7();
  const messages = documents.map((each) =>
    delimited(each instanceof Uint8Array ? each : Document.encode(each).finish()),
  );
  await objects.put(`payload-${jobId}`, messages);
  return scheduler.grant({
    jobId,
    type: "batch_import",
    libraryId: index.libraryId,
    payloadObject: `payload-${jobId}`,
    itemCount: BigInt(documents.length),
    spec: { spec: { $case: "batchImport", value: BatchImportSpec.fromPartial({}) } },
    ...fields,
  });
}

function countsOf(result: JobResult | undefined): number[] {
  assert.ok(result?.result?.$case === "batchImport");
  const { imported, failed, totalChunks } = result.result.value;
  return [imported, failed, totalChunks].map(Number);
}

function completedCounts(outcome: NonNullable<Outcome["outcome"]>): number[] {
  assert.ok(outcome.$case === "completed", outcome.$case);
  return countsOf(outcome.value.result);
}

test("an import cuts, embeds, upserts under its fence and reports", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  const long = Array.from({ length: 300 }, (_, word) => `word${word}`).join(" ");
  const documents = [...manyDocuments(25), documentOf("", long), documentOf("two", "first", "second")];
  const grant = await importGrant(harness, documents);
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  const [imported, failed, chunks] = completedCounts(outcome);
  assert.deepEqual([imported, failed], [27, 0]);
  assert.equal(chunks, index.chunks);
  assert.ok(outcome.$case === "completed");
  assert.equal(outcome.value.progress?.message, `27 documents, ${chunks} chunks`);
  assert.equal(outcome.value.progress?.percentage, 100);
  const derived = index.documents.get(uuidv5("25", grant.jobId));
  assert.ok((derived?.document?.texts.length ?? 0) > 1);
  assert.deepEqual(index.documents.get("two")?.document?.texts, ["first", "second"]);
  assert.equal(index.events[0], "begin");
  assert.equal(index.events.at(-1), "end");
  for (const { vectors, document } of index.documents.values()) {
    assert.equal(vectors.length, (document?.texts.length ?? 0) * index.dimensions * 4);
  }
  const checkpoints = scheduler.outcomesOf(grant.lease).filter(({ outcome: o }) => o?.$case === "checkpoint");
  assert.equal(checkpoints.length, index.upserts.length);
});

test("bad documents fail alone", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  const withVector = (id: string, values: number[]): Document => ({
    ...documentOf(id, "text"),
    vectors: [{ values, packed: Buffer.alloc(0) }],
  });
  const documents = [
    documentOf("good", "text"),
    documentOf("no-texts"),
    documentOf("empty-text", "a", ""),
    Uint8Array.of(0xff, 0xff, 0xff),
    withVector("short-vector", [1, 2]),
    withVector("infinite", [1, 2, 3, 4, 5, 6, 7, Number.POSITIVE_INFINITY]),
    withVector("own-vector", [1, 2, 3, 4, 5, 6, 7, 8]),
    documentOf("refused", "text"),
    documentOf("also-good", "text"),
  ];
  index.onUpsert = ({ documents: all }) => {
    if (all.some(({ document }) => document?.documentId === "refused")) throw invalid("refused");
  };
  const grant = await importGrant(harness, documents);
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [3, 6, 3]);
  assert.deepEqual([...index.documents.keys()].sort(), ["also-good", "good", "own-vector"]);
  const own = index.documents.get("own-vector")?.vectors ?? Buffer.alloc(0);
  assert.equal(own.readFloatLE(28), 8);
});

test("a resumed import repeats at most the batch that was not checkpointed", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.onUpsert = () => {
    if (index.upserts.length === 3) throw away();
  };
  const documents = manyDocuments(60);
  const first = await importGrant(harness, documents);
  await scheduler.assign([first]);
  await eventually(() => index.upserts.length === 3, { what: "three batches" });
  const saved = await eventually(() => {
    const all = scheduler.outcomesOf(first.lease).flatMap(({ outcome }) => (outcome ? [outcome] : []));
    const checkpoints = all.flatMap((each) => (each.$case === "checkpoint" ? [each.value] : []));
    return checkpoints.find(({ number }) => number === 3);
  });
  // The job passes to another lease, as after the loss of its worker.
  scheduler.disowned.add(first.lease);
  await scheduler.forgotten(first.lease);
  index.onUpsert = () => undefined;
  const second = scheduler.grant({ ...first, lease: first.lease + 100n, attempt: 1, checkpoint: saved.data });
  await scheduler.assign([second]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(second.lease)), [60, 0, 60]);
  assert.equal(index.documents.size, 60);
  assert.equal(index.upserts.flat().length, 60);
  assert.deepEqual(
    scheduler
      .outcomesOf(first.lease)
      .map(({ outcome }) => outcome?.$case)
      .includes("completed"),
    false,
  );
});

test("cancel stops within 250 ms; the partial result counts what the index has", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.onUpsert = () => new Promise((resolve) => setTimeout(resolve, 60));
  const grant = await importGrant(harness, manyDocuments(2_000));
  await scheduler.assign([grant]);
  await eventually(() => index.upserts.length >= 3, { what: "three batches" });
  const askedAtMs = performance.now();
  await scheduler.cancel([grant.lease]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  const tookMs = performance.now() - askedAtMs;
  assert.ok(tookMs < 250, `${tookMs} ms`);
  assert.ok(outcome.$case === "cancelled");
  assert.deepEqual(countsOf(outcome.value.partialResult), [index.documents.size, 0, index.chunks]);
  assert.ok(index.documents.size < 2_000);
});

test("cancel does not wait for an index that hangs", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  let called = false;
  index.onUpsert = (_request, signal) => {
    called = true;
    return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
  };
  const grant = await importGrant(harness, manyDocuments(20));
  await scheduler.assign([grant]);
  await eventually(() => called, { what: "an upsert" });
  const askedAtMs = performance.now();
  await scheduler.cancel([grant.lease]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(performance.now() - askedAtMs < 400);
  assert.ok(outcome.$case === "cancelled");
  assert.deepEqual(countsOf(outcome.value.partialResult), [0, 0, 0]);
});

test("an import waits for an index that restarts", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.onUpsert = () => new Promise((resolve) => setTimeout(resolve, 20));
  const grant = await importGrant(harness, manyDocuments(200));
  await scheduler.assign([grant]);
  await eventually(() => index.upserts.length >= 2, { what: "two batches" });
  await index.close();
  await new Promise((resolve) => setTimeout(resolve, 700));
  await index.listen();
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease, 15_000)), [200, 0, 200]);
});

test("another embedding meanwhile: the batch is embedded again", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.onUpsert = () => {
    if (index.upserts.length < 2) return;
    index.embeddingId = "embedding-2";
    index.dimensions = 16;
  };
  const grant = await importGrant(harness, manyDocuments(60));
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [60, 0, 60]);
  assert.equal(index.documents.get("doc-59")?.vectors.length, 64);
});

test("a library without embeddings takes only documents with vectors", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.provider = "none";
  index.dimensions = 2;
  const own = { ...documentOf("own", "text"), vectors: [{ values: [1, 2], packed: Buffer.alloc(0) }] };
  const grant = await importGrant(harness, [own, documentOf("none", "text")]);
  await scheduler.assign([grant]);
  assert.deepEqual(completedCounts(await scheduler.outcomeOf(grant.lease)), [1, 1, 1]);
});

test("a library that is gone fails the job, not retryably, before and during the import", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  const during = await importGrant(harness, manyDocuments(60));
  index.onUpsert = () => {
    if (index.upserts.length === 2) index.gone = true;
  };
  await scheduler.assign([during]);
  const after = await importGrant(harness, manyDocuments(1));
  for (const grant of [during, after]) {
    if (grant === after) await scheduler.assign([after]);
    const outcome = await scheduler.outcomeOf(grant.lease);
    assert.ok(outcome.$case === "failed");
    assert.deepEqual(
      [outcome.value.error?.code, outcome.value.error?.retryable],
      ["LIBRARY_NOT_FOUND", false],
    );
  }
});

test("a fenced import says nothing more", async (t) => {
  const harness = await startImports(t);
  const { scheduler, index } = harness;
  index.onUpsert = () => {
    if (index.upserts.length === 2) throw fenced();
  };
  const grant = await importGrant(harness, manyDocuments(60));
  await scheduler.assign([grant]);
  await eventually(() => index.upserts.length === 2, { what: "two batches" });
  const probe = scheduler.grant({ echo: { sleep: { seconds: 0n, nanos: 200_000_000 } } });
  await scheduler.assign([probe]);
  await scheduler.outcomeOf(probe.lease);
  const kinds = new Set(scheduler.outcomesOf(grant.lease).map(({ outcome }) => outcome?.$case));
  assert.deepEqual([...kinds], ["checkpoint"]);
  assert.equal(index.events.includes("end"), false);
});

test("a payload that is not there fails the job, not retryably", async (t) => {
  const harness = await startImports(t);
  const { scheduler } = harness;
  const grant = await importGrant(harness, [], { payloadObject: "nothing" });
  await scheduler.assign([grant]);
  const outcome = await scheduler.outcomeOf(grant.lease);
  assert.ok(outcome.$case === "failed");
  assert.deepEqual([outcome.value.error?.code, outcome.value.error?.retryable], ["OBJECT_NOT_FOUND", false]);
});

function invalid(id: string) {
  return invalidArgument([{ field: "documents", description: `the index does not take ${id}` }]);
}
