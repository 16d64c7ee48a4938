import assert from "node:assert/strict";
import { cp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { BuildKind, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { openStore } from "../../../services/index/store.ts";
import { eventually } from "../../support/eventually.ts";
import { heldGenerations, TestBuilds } from "../../support/index-builds.ts";
import { startIndexProcess } from "../../support/index-process.ts";
import {
  documentUpsert,
  libraryRequest,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";

/** The index process is killed while it builds: the job's next StartBuild goes on, and nothing is left behind. */

const DIMENSIONS = 32;
const COUNT = 6_000;
const ENV = { ARRW_LOG_LEVEL: "error", ARRW_INDEX_SNAPSHOT_CHANGES: "2000" };
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

const vector = (i: number): Float32Array => {
  const centre = seededVector(1_000_000 + (i % 20), DIMENSIONS);
  return seededVector(i, DIMENSIONS).map((value, n) => 0.5 * value + (centre[n] as number));
};

async function started(t: TestContext, data: string) {
  const process = await startIndexProcess(data, ENV);
  t.after(() => process.kill("SIGKILL"));
  const library = await TestLibrary.create(process.client, libraryRequest("a", DIMENSIONS));
  return { process, library, builds: new TestBuilds(t, process.client, process.address, "a") };
}

async function fill(library: TestLibrary, builds: TestBuilds): Promise<void> {
  for (let from = 0; from < COUNT; from += 500)
    await library.upsert(upTo(500).map((i) => documentUpsert(`d${from + i}`, [vector(from + i)])));
  await eventually(async () => (await builds.library()).vectorCount === BigInt(COUNT), { timeoutMs: 30_000 });
}

async function assertFound(library: TestLibrary, ids: readonly number[]): Promise<void> {
  let found = 0;
  for (const i of ids) {
    const { hits } = await library.search(vector(i), 1);
    if (hits[0]?.documentId === `d${i}`) found += 1;
  }
  assert.ok(found >= 0.99 * ids.length, `${found} of ${ids.length}`);
}

/** Kills it in a phase, starts it again, and finishes the build. */
async function killedIn(
  t: TestContext,
  data: string,
  jobId: string,
  enough: (build: Awaited<ReturnType<TestBuilds["get"]>>) => boolean,
): Promise<void> {
  const first = await started(t, data);
  if ((await first.builds.library()).chunkCount === 0n) await fill(first.library, first.builds);
  const { generation } = await first.builds.start(jobId, 1n);
  await eventually(async () => enough(await first.builds.get(jobId, 1n)), {
    timeoutMs: 60_000,
    intervalMs: 2,
  });
  await first.process.kill("SIGKILL");
  const second = await started(t, data);
  await second.library.delete([`d${generation}`]);
  assert.equal((await second.builds.library()).buildingGeneration, generation);
  const resumed = await second.builds.start(jobId, 2n);
  assert.equal(resumed.generation, generation);
  const ready = await second.builds.until(jobId, 2n, BuildPhase.BUILD_PHASE_READY);
  assert.equal(ready.phase, BuildPhase.BUILD_PHASE_READY, ready.errorMessage);
  const { build } = await second.builds.swap(jobId, 2n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  const { vectorCount, chunkCount } = await second.builds.library();
  assert.equal(vectorCount, chunkCount);
  await assertFound(
    second.library,
    upTo(100).map((i) => 100 + 7 * i),
  );
  await second.process.kill("SIGTERM");
}

test("SIGKILL while an index is built, measured, ready or just swapped: the build goes on, and no file is left", async (t) => {
  const data = await tempDir(t);
  await killedIn(t, data, "building", ({ vectorsDone }) => vectorsDone > 3_000n);
  await killedIn(t, data, "verifying", ({ phase }) => phase >= BuildPhase.BUILD_PHASE_VERIFYING);
  await killedIn(t, data, "ready", ({ phase }) => phase >= BuildPhase.BUILD_PHASE_READY);
  const held = await heldGenerations(join(data, "index"));
  assert.deepEqual(held, { generations: [3, 4], building: false, previous: true });
  const last = await started(t, data);
  await last.builds.start("swapped", 1n);
  await last.builds.until("swapped", 1n, BuildPhase.BUILD_PHASE_READY);
  const swapped = last.builds.swap("swapped", 1n).catch(() => undefined);
  await last.process.kill("SIGKILL");
  await swapped;
  const again = await started(t, data);
  const build = await again.builds.start("swapped", 2n);
  if (build.phase !== BuildPhase.BUILD_PHASE_SWAPPED) {
    await again.builds.until("swapped", 2n, BuildPhase.BUILD_PHASE_READY);
    await again.builds.swap("swapped", 2n);
  }
  assert.equal((await again.builds.library()).generation, 5n);
  await assertFound(
    again.library,
    upTo(50).map((i) => 100 + 7 * i),
  );
  await again.process.kill("SIGTERM");
  const end = await heldGenerations(join(data, "index"));
  assert.deepEqual(end, { generations: [4, 5], building: false, previous: true });
});

test("SIGKILL while vectors are brought: those that are there stay", async (t) => {
  const data = await tempDir(t);
  const first = await started(t, data);
  await first.library.upsert(upTo(300).map((i) => documentUpsert(`d${i}`, [vector(i)])));
  const embedding = { provider: "none", model: "new", dimensions: 8 };
  const request = { kind: BuildKind.BUILD_KIND_REGENERATE, embedding };
  await first.builds.start("job", 1n, request);
  assert.equal(await embed(first.builds, 1n, 100), 100);
  await first.process.kill("SIGKILL");
  const second = await started(t, data);
  const resumed = await second.builds.start("job", 2n, request);
  assert.equal(resumed.chunksEmbedded, 100n);
  assert.equal(await embed(second.builds, 2n, 500), 200);
  await second.builds.until("job", 2n, BuildPhase.BUILD_PHASE_READY);
  const { build } = await second.builds.swap("job", 2n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  assert.equal((await second.builds.library()).embedding?.dimensions, 8);
  await second.process.kill("SIGTERM");
});

async function embed(builds: TestBuilds, lease: bigint, limit: number): Promise<number> {
  const { chunks, throughKey } = await builds.readChunks("job", lease, limit);
  const vectors = Buffer.concat(chunks.map(({ key }) => Buffer.from(seededVector(Number(key), 8).buffer)));
  const keys = chunks.map(({ key }) => key);
  await builds.writeVectors("job", lease, throughKey, keys, vectors);
  return chunks.length;
}

test("a store of before there were generations opens as it is, and can be rebuilt", async (t) => {
  const folder = await tempDir(t);
  const service = await startIndexService({ folder });
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
  await library.upsert(upTo(300).map((i) => documentUpsert(`d${i}`, [vector(i)])));
  await eventually(
    async () =>
      (await new TestBuilds(t, service.client, service.address, "a").library()).vectorCount === 300n,
  );
  await service.stop({ keep: true });
  const base = join(folder, "libraries", "1");
  const store = openStore(join(base, "store"));
  const snapshot = store.snapshots.get("1");
  assert.ok(snapshot);
  await store.snapshots.put("current", snapshot);
  await store.snapshots.remove("1");
  await store.generations.remove(1);
  await store.env.close();
  const again = await startIndexService({ folder });
  t.after(() => again.stop({ keep: true }));
  const reopened = await TestLibrary.create(again.client, libraryRequest("a", DIMENSIONS));
  await assertFound(reopened, upTo(50));
  const builds = new TestBuilds(t, again.client, again.address, "a");
  assert.equal((await builds.rebuild("job")).generation, 2n);
  await assertFound(reopened, upTo(50));
  assert.equal((await builds.rollback()).generation, 1n);
  await assertFound(reopened, upTo(50));
  await again.stop({ keep: true });
  assert.deepEqual(await heldGenerations(folder), { generations: [1], building: false, previous: false });
});

test("a foreign or missing file of the generation before is made anew by a rollback", async (t) => {
  for (const damage of ["foreign", "missing"]) {
    const folder = await tempDir(t);
    const service = await startIndexService({ folder });
    t.after(() => service.stop({ keep: true }));
    const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
    await library.upsert(upTo(300).map((i) => documentUpsert(`d${i}`, [vector(i)])));
    const builds = new TestBuilds(t, service.client, service.address, "a");
    await builds.rebuild("job");
    const files = join(folder, "libraries", "1", "index");
    const name = await eventually(async () => (await readdir(files)).find((each) => each.startsWith("1-")));
    if (damage === "missing") await rm(join(files, name));
    else await cp(join(import.meta.dirname, "../../../package-lock.json"), join(files, name));
    assert.equal((await builds.rollback()).generation, 1n);
    await assertFound(library, upTo(100));
    await service.stop({ keep: true });
    assert.deepEqual(await heldGenerations(folder), { generations: [1], building: false, previous: false });
  }
});
