import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { BuildKind, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { IndexConfig } from "../../../proto/gen/arrwdb/v1/document.ts";
import { eventually } from "../../support/eventually.ts";
import { heldGenerations, TestBuilds } from "../../support/index-builds.ts";
import {
  documentUpsert,
  type IndexServiceOptions,
  libraryRequest,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";

/** Rebuilds and optimizes: another index of the same vectors, beside the one that answers. */

const DIMENSIONS = 32;
const CENTRES = 20;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Clustered as embeddings are: uniform vectors are no measure of an index. */
const vector = (i: number): Float32Array => {
  const centre = seededVector(1_000_000 + (i % CENTRES), DIMENSIONS);
  return seededVector(i, DIMENSIONS).map((value, n) => 0.5 * value + (centre[n] as number));
};
const documents = (from: number, count: number) =>
  upTo(count).map((i) => documentUpsert(`d${from + i}`, [vector(from + i)]));

async function setUp(t: TestContext, options: IndexServiceOptions & { readonly request?: object } = {}) {
  const folder = options.folder ?? (await tempDir(t));
  const service = await startIndexService({ ...options, folder });
  t.after(() => service.stop({ keep: true }));
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS, options.request));
  const builds = new TestBuilds(t, service.client, service.address, "a");
  return { folder, service, library, builds };
}

async function fill(library: TestLibrary, builds: TestBuilds, count: number): Promise<void> {
  for (let from = 0; from < count; from += 500)
    await library.upsert(documents(from, Math.min(500, count - from)));
  await indexed(builds);
}

/** Everything stored is in the index that answers. */
async function indexed(builds: TestBuilds): Promise<void> {
  await eventually(async () => {
    const { vectorCount, chunkCount } = await builds.library();
    return vectorCount === chunkCount;
  });
}

const config = (overrides: Partial<IndexConfig>): IndexConfig => ({
  metric: "",
  scalar: "",
  connectivity: 0,
  expansionAdd: 0,
  expansionSearch: 0,
  ...overrides,
});

/** Every one of the documents is found by its own vector. */
async function assertFound(library: TestLibrary, ids: readonly number[], share = 0.99): Promise<void> {
  let found = 0;
  for (const i of ids) {
    const { hits } = await library.search(vector(i), 1);
    if (hits[0]?.documentId === `d${i}`) found += 1;
  }
  assert.ok(found >= share * ids.length, `${found} of ${ids.length} found`);
}

/** Stops the service, and looks at what it leaves. */
async function left(service: TestIndexService, folder: string) {
  await service.stop({ keep: true });
  return heldGenerations(folder);
}

test("a rebuild to other parameters answers searches after the swap, with figures of both", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 2_000);
  await library.delete(upTo(300).map((i) => `d${i}`));
  const started = await builds.start("job", 1n, {
    indexConfig: config({ scalar: "f32", connectivity: 24 }),
  });
  assert.equal(started.generation, 2n);
  assert.equal((await builds.library()).buildingGeneration, 2n);
  const ready = await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  assert.equal(ready.phase, BuildPhase.BUILD_PHASE_READY, ready.errorMessage);
  assert.equal((await library.search(vector(500), 1)).generation, 1n);
  const { build } = await builds.swap("job", 1n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  const { figures } = build;
  assert.ok(figures);
  assert.equal(figures.vectors, 1_700n);
  assert.equal(figures.tombstones, 300n);
  assert.equal(figures.sampleQueries, 200);
  assert.ok(figures.recallAt10 >= 0.95 && figures.oldRecallAt10 >= 0.9, JSON.stringify(figures.recallAt10));
  assert.ok(figures.newSearchP50Ms > 0 && figures.newSearchP99Ms >= figures.newSearchP50Ms);
  assert.ok(figures.oldSearchP50Ms > 0 && figures.newDiskBytes > 0n && figures.newMemoryBytes > 0n);
  // A lost reply: the same answer again.
  assert.deepEqual((await builds.swap("job", 1n)).build, build);
  assert.deepEqual((await builds.again("job", 1n)).figures, build.figures);
  assert.equal((await library.search(vector(500), 1)).generation, 2n);
  await library.upsert(documents(5_000, 50));
  await assertFound(library, [...upTo(50).map((i) => 5_000 + i), ...upTo(100).map((i) => 300 + i)]);
  const message = await builds.library();
  assert.equal(message.generation, 2n);
  assert.equal(message.previousGeneration, 1n);
  assert.ok((message.previousGenerationExpiresAt?.getTime() ?? 0) > Date.now());
  assert.equal(message.indexConfig?.scalar, "f32");
  assert.equal(message.indexConfig?.connectivity, 24);
  assert.equal(message.tombstoneCount, 0n);
  const held = await left(service, folder);
  assert.deepEqual(held, { generations: [1, 2], building: false, previous: true });
  const again = await startIndexService({ folder });
  t.after(() => again.stop({ keep: true }));
  const reopened = await TestLibrary.create(again.client, libraryRequest("a", DIMENSIONS));
  assert.equal((await reopened.search(vector(500), 1)).generation, 2n);
});

test("searches and writes go on while a generation is built; nothing acknowledged is missing after the swap", async (t) => {
  const { folder, service, library, builds } = await setUp(t, { snapshotChanges: 2_000 });
  await fill(library, builds, 6_000);
  await builds.start("job", 1n, { indexConfig: config({ expansionAdd: 200 }) });
  let writing = true;
  let next = 10_000;
  const deleted: number[] = [];
  const generations: bigint[] = [];
  const writes = (async () => {
    while (writing) {
      await library.upsert(documents(next, 20));
      await library.delete([`d${deleted.length * 3}`]);
      deleted.push(deleted.length * 3);
      next += 20;
    }
  })();
  const searches = (async () => {
    for (let i = 0; writing; i++) {
      const { hits, generation } = await library.search(vector(5_000 + (i % 900)), 3);
      assert.equal(hits.length, 3);
      generations.push(generation);
    }
  })();
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  const { build } = await eventually(async () => {
    const swap = await builds.swap("job", 1n);
    return swap.build.phase === BuildPhase.BUILD_PHASE_SWAPPED ? swap : undefined;
  });
  const seen = generations.length;
  await eventually(() => generations.length > seen + 5);
  writing = false;
  await Promise.all([writes, searches]);
  assert.deepEqual(generations, [...generations].sort());
  assert.deepEqual([generations[0], generations.at(-1)], [1n, 2n]);
  assert.ok(next > 10_200 && deleted.length > 10, `${next}, ${deleted.length}`);
  await indexed(builds);
  const { chunkCount } = await builds.library();
  assert.equal(Number(chunkCount), 6_000 + (next - 10_000) - deleted.length);
  await assertFound(
    library,
    upTo((next - 10_000) / 5).map((i) => 10_000 + 5 * i),
  );
  for (const i of deleted) {
    const { hits } = await library.search(vector(i), 1, { exact: true });
    assert.notEqual(hits[0]?.documentId, `d${i}`);
  }
  assert.ok((build.figures?.recallAt10 ?? 0) > 0.95);
  await left(service, folder);
});

test("hnsw becomes flat and flat becomes hnsw", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 1_000);
  const flat = await builds.rebuild("one", { indexType: "flat" });
  assert.equal(flat.figures?.recallAt10, 1);
  assert.equal((await builds.library()).indexType, "flat");
  await library.upsert(documents(1_000, 100));
  await assertFound(library, upTo(200), 1);
  const hnsw = await builds.rebuild("two", { indexType: "hnsw" });
  assert.equal(hnsw.figures?.vectors, 1_100n);
  assert.ok((hnsw.figures?.newMemoryBytes ?? 0n) > 0n);
  await assertFound(library, upTo(200));
  const held = await left(service, folder);
  assert.deepEqual(held, { generations: [2, 3], building: false, previous: true });
});

test("another metric counts from the swap on; vectors that it can't hold fail the build and name a document", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 500);
  await builds.rebuild("ip", { indexConfig: config({ metric: "ip" }) });
  const long = vector(3).map((value) => 10 * value);
  await library.upsert([documentUpsert("long", [long])]);
  assert.equal((await library.search(vector(3), 1)).hits[0]?.documentId, "long");
  await builds.rebuild("cos", { indexConfig: config({ metric: "cos" }) });
  const huge = new Float32Array(DIMENSIONS).fill(1e30);
  await library.upsert([documentUpsert("huge", [huge])]);
  for (const request of [
    { indexConfig: config({ metric: "l2sq" }) },
    { indexConfig: config({ metric: "ip" }), indexType: "flat" },
  ]) {
    const build = await builds.rebuild(`bounds-${request.indexConfig.metric}`, request);
    assert.equal(build.phase, BuildPhase.BUILD_PHASE_FAILED);
    assert.equal(build.errorCode, "VECTORS_OUT_OF_BOUNDS");
    assert.match(build.errorMessage, /"huge"/);
  }
  assert.equal((await builds.library()).generation, 3n);
  const i8 = builds.start("i8", 1n, { indexConfig: config({ metric: "ip", scalar: "i8" }) });
  await assert.rejects(i8, { code: "INVALID_ARGUMENT" });
  await library.delete(["huge"]);
  await builds.start("late", 1n, { indexConfig: config({ metric: "l2sq", scalar: "f16" }) });
  await builds.until("late", 1n, BuildPhase.BUILD_PHASE_READY);
  await library.upsert([documentUpsert("late", [new Float32Array(DIMENSIONS).fill(70_000)])]);
  const failed = await builds.until("late", 1n, BuildPhase.BUILD_PHASE_FAILED);
  assert.equal(failed.errorCode, "VECTORS_OUT_OF_BOUNDS");
  assert.match(failed.errorMessage, /"late"/);
  const held = await left(service, folder);
  assert.deepEqual(held, { generations: [2, 3], building: false, previous: true });
});

test("a build below the recall asked for fails with the figures, and the live generation stays", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  const uniform = upTo(2_000).map((i) => documentUpsert(`d${i}`, [seededVector(i, DIMENSIONS)]));
  await library.upsert(uniform);
  const poor = { indexConfig: config({ connectivity: 2, expansionAdd: 2, expansionSearch: 1 }) };
  const build = await builds.rebuild("poor", { ...poor, minRecall: 0.99 });
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_FAILED);
  assert.equal(build.errorCode, "RECALL_TOO_LOW");
  assert.match(build.errorMessage, /recall@10 of the new index is 0\.\d+ on 200 queries, below the 0\.99/);
  assert.ok((build.figures?.recallAt10 ?? 1) < 0.99);
  const message = await builds.library();
  assert.equal(message.generation, 1n);
  assert.equal(message.buildingGeneration, 0n);
  // The same run gets the same answer; a new run builds again.
  assert.equal((await builds.again("poor", 1n, poor)).phase, BuildPhase.BUILD_PHASE_FAILED);
  const again = await builds.start("poor", 2n, { run: 2, minRecall: 0.01, ...poor });
  assert.equal(again.generation, 3n);
  await builds.drop("poor", 2n);
  assert.deepEqual(await left(service, folder), { generations: [1], building: false, previous: false });
});

test("a dropped build is gone within 250 ms, in every phase", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 8_000);
  const phases = [
    BuildPhase.BUILD_PHASE_BUILDING,
    BuildPhase.BUILD_PHASE_VERIFYING,
    BuildPhase.BUILD_PHASE_READY,
  ];
  for (const [n, phase] of phases.entries()) {
    await builds.start(`job-${n}`, 1n);
    await eventually(
      async () => {
        const build = await builds.get(`job-${n}`, 1n);
        return (
          build.phase >= phase && (phase !== BuildPhase.BUILD_PHASE_BUILDING || build.vectorsDone > 1_000n)
        );
      },
      { timeoutMs: 60_000, intervalMs: 2 },
    );
    const began = performance.now();
    await builds.drop(`job-${n}`, 1n);
    const ms = performance.now() - began;
    assert.ok(ms < 250, `${ms} ms in phase ${phase}`);
    await builds.drop(`job-${n}`, 1n);
    assert.equal((await builds.library()).buildingGeneration, 0n);
    await assert.rejects(builds.get(`job-${n}`, 1n), { reason: "BUILD_NOT_FOUND" });
  }
  assert.deepEqual(await left(service, folder), { generations: [1], building: false, previous: false });
});

test("a newer lease takes the build over; another job waits until the first one's fence is closed", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 3_000);
  const first = await builds.start("job", 1n);
  await assert.rejects(builds.start("other", 2n), { code: "ABORTED", reason: "BUILD_RUNNING" });
  const adopted = await builds.start("job", 3n);
  assert.equal(adopted.generation, first.generation);
  assert.equal(adopted.lease, 3n);
  for (const call of [
    builds.get("job", 1n),
    builds.swap("job", 1n),
    builds.drop("job", 1n),
    builds.again("job", 1n),
  ])
    await assert.rejects(call, { code: "FAILED_PRECONDITION", reason: "LEASE_FENCED" });
  await builds.end("job", 3n);
  const other = await builds.again("other", 2n);
  assert.equal(other.generation, 3n);
  await assert.rejects(builds.swap("job", 3n), { reason: "LEASE_FENCED" });
  await builds.until("other", 2n, BuildPhase.BUILD_PHASE_READY);
  assert.equal((await builds.swap("other", 2n)).build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  assert.deepEqual(await left(service, folder), { generations: [1, 3], building: false, previous: true });
});

test("a build that nobody asks for is dropped with its files", async (t) => {
  const { folder, service, library, builds } = await setUp(t, { buildKeepAliveMs: 400 });
  await fill(library, builds, 1_000);
  await builds.start("job", 1n);
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  await eventually(async () => (await builds.library()).buildingGeneration === 0n);
  await assert.rejects(builds.get("job", 1n), { code: "NOT_FOUND", reason: "BUILD_NOT_FOUND" });
  assert.deepEqual(await left(service, folder), { generations: [1], building: false, previous: false });
});

test("a build that a stop cut short is taken up again, or dropped when its job never comes back", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 1_000);
  await builds.start("job", 1n);
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  assert.deepEqual(await left(service, folder), { generations: [1, 2], building: true, previous: false });
  const second = await setUp(t, { folder });
  await assert.rejects(second.builds.get("job", 1n), { reason: "BUILD_NOT_FOUND" });
  assert.equal((await second.builds.again("job", 1n)).generation, 2n);
  await second.service.stop({ keep: true });
  const third = await startIndexService({ folder, buildKeepAliveMs: 200 });
  t.after(() => third.stop({ keep: true }));
  const { builds: last } = { builds: new TestBuilds(t, third.client, third.address, "a") };
  await eventually(async () => (await last.library()).buildingGeneration === 0n);
  assert.deepEqual(await left(third, folder), { generations: [1], building: false, previous: false });
});

test("an optimize with nothing to win isn't needed; two that wait for the same are done by the first", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await fill(library, builds, 1_000);
  const kind = BuildKind.BUILD_KIND_OPTIMIZE;
  const none = await builds.start("none", 1n, { kind });
  assert.equal(none.phase, BuildPhase.BUILD_PHASE_NOT_NEEDED);
  assert.equal(none.figures?.vectors, 1_000n);
  assert.deepEqual(await builds.again("none", 1n, { kind }), none);
  await library.delete(upTo(400).map((i) => `d${i}`));
  const submittedAt = new Date(Date.now() - 1_000);
  const first = await builds.rebuild("first", { kind, submittedAt });
  assert.equal(first.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  assert.equal(first.figures?.tombstones, 400n);
  const {
    oldMemoryBytes = 0n,
    newMemoryBytes = 0n,
    oldDiskBytes = 0n,
    newDiskBytes = 0n,
  } = first.figures ?? {};
  assert.ok(newMemoryBytes < oldMemoryBytes, `${newMemoryBytes} < ${oldMemoryBytes}`);
  assert.ok(newDiskBytes > 0n, `${newDiskBytes}, ${oldDiskBytes}`);
  assert.equal((await builds.library()).tombstoneCount, 0n);
  await library.delete(["d500"]);
  await eventually(async () => (await builds.library()).tombstoneCount === 1n);
  const second = await builds.start("second", 1n, { kind, submittedAt });
  assert.equal(second.phase, BuildPhase.BUILD_PHASE_NOT_NEEDED);
  const later = await builds.start("later", 1n, { kind, submittedAt: new Date() });
  assert.equal(later.phase, BuildPhase.BUILD_PHASE_BUILDING);
  await builds.drop("later", 1n);
  assert.deepEqual(await left(service, folder), { generations: [1, 2], building: false, previous: true });
});

test("a build that would need more memory than there is is refused with the figures", async (t) => {
  const { folder, service, library, builds } = await setUp(t, { memoryLimitBytes: 600_000 });
  await fill(library, builds, 2_000);
  const refused = builds.start("job", 1n);
  await assert.rejects(refused, (error: ArrwError) => {
    assert.equal(error.code, "FAILED_PRECONDITION");
    assert.equal(error.reason, "INDEX_MEMORY_LIMIT");
    assert.equal(error.metadata.limit_bytes, "600000");
    assert.match(
      error.message,
      /needs about \d+ bytes .* beside the \d+ of loaded indexes; the limit is 600000/,
    );
    return true;
  });
  await builds.start("flat", 1n, { indexType: "flat" });
  await builds.drop("flat", 1n);
  assert.deepEqual(await left(service, folder), { generations: [1], building: false, previous: false });
});

test("idle libraries are unloaded when indexes take more memory than they may, and come back", async (t) => {
  const { service, library, builds } = await setUp(t, { memoryLimitBytes: 900_000 });
  await fill(library, builds, 2_000);
  assert.ok((await builds.library()).memoryBytes > 500_000n);
  const b = await TestLibrary.create(service.client, libraryRequest("b", DIMENSIONS));
  await b.upsert(documents(0, 2_000));
  await eventually(async () => {
    await b.search(vector(1), 1);
    return service.libraries.totals.open === 1;
  });
  await assertFound(library, upTo(20));
});

test("the generation before is kept for its time, then goes; the one before that goes at the swap", async (t) => {
  const { folder, service, library, builds } = await setUp(t, { generationRetentionMs: 600_000 });
  await fill(library, builds, 500);
  await builds.rebuild("one");
  await builds.rebuild("two");
  assert.equal((await builds.library()).previousGeneration, 2n);
  assert.deepEqual(await left(service, folder), { generations: [2, 3], building: false, previous: true });
  const again = await setUp(t, { folder });
  await again.service.libraries.settle(Date.now() + 500_000);
  assert.equal((await again.builds.library()).previousGeneration, 2n);
  await again.service.libraries.settle(Date.now() + 601_000);
  const message = await again.builds.library();
  assert.equal(message.previousGeneration, 0n);
  assert.equal(message.previousGenerationExpiresAt, undefined);
  await assert.rejects(again.builds.rollback(), { reason: "NO_PREVIOUS_GENERATION" });
  await assertFound(again.library, upTo(20));
  assert.deepEqual(await left(again.service, folder), { generations: [3], building: false, previous: false });
});

test("a library that is deleted takes its build along", async (t) => {
  const { service, library, builds, folder } = await setUp(t);
  await fill(library, builds, 3_000);
  await builds.start("job", 1n);
  const { client } = service;
  await unary(client, client.deleteLibrary, { libraryId: "a" }, { timeoutMs: 10_000 });
  await assert.rejects(builds.get("job", 1n), { reason: "LIBRARY_NOT_FOUND" });
  assert.deepEqual(await readdir(join(folder, "libraries")), []);
  await TestLibrary.create(client, libraryRequest("a", DIMENSIONS));
  assert.equal((await builds.library()).generation, 1n);
});

test("threads of indexes that were swapped in are bounded: idle libraries give theirs up", async (t) => {
  const { service } = await setUp(t);
  const ids = upTo(10).map((n) => `lib${n}`);
  for (const id of ids) {
    const library = await TestLibrary.create(service.client, libraryRequest(id, DIMENSIONS));
    await library.upsert(documents(0, 5));
    await new TestBuilds(t, service.client, service.address, id).rebuild("job");
  }
  const first = new TestBuilds(t, service.client, service.address, ids[0] ?? "");
  // Those that are closed are the least recently used, so that asking the last one keeps it open.
  const last = new TestBuilds(t, service.client, service.address, ids.at(-1) ?? "");
  await eventually(async () => {
    await last.library();
    return service.libraries.totals.open <= 9;
  });
  assert.equal((await first.library()).generation, 2n);
});
