import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Database, open } from "lmdb";
import { BuildKind, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { Generation } from "../../../services/index/generation.ts";
import { GenerationWriter } from "../../../services/index/generation-writer.ts";
import { LibraryIndex } from "../../../services/index/library-index.ts";
import { eventually } from "../../support/eventually.ts";
import { TestBuilds } from "../../support/index-builds.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const DIMENSIONS = 8;

async function start(t: TestContext, options: { snapshotChanges?: number; indexType?: string } = {}) {
  const { snapshotChanges = 20_000, indexType = "hnsw" } = options;
  const service = await startIndexService({ snapshotChanges });
  t.after(() => service.stop());
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS, { indexType }));
  return { service, library, builds: new TestBuilds(t, service.client, service.address, library.id) };
}

const documents = (prefix: string, count: number, from = 0) =>
  Array.from({ length: count }, (_, n) =>
    documentUpsert(`${prefix}${from + n}`, [seededVector(from + n, DIMENSIONS)]),
  );

/** A regenerate with the same embedding, so that the two generations have sets of vectors of their own. */
async function regenerated(builds: TestBuilds): Promise<void> {
  await builds.start("regenerate", 1n, { kind: BuildKind.BUILD_KIND_REGENERATE });
  const { chunks, throughKey } = await builds.readChunks("regenerate", 1n, 4_000);
  const keys = chunks.map(({ key }) => key);
  const rows = keys.map((key) => seededVector(Number(key) - 1, DIMENSIONS));
  await builds.writeVectors("regenerate", 1n, throughKey, keys, packed(...rows));
  await builds.until("regenerate", 1n, BuildPhase.BUILD_PHASE_READY);
  const { build } = await builds.swap("regenerate", 1n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
}

test("a flat index beside one that still reads the change log does not spin", async (t) => {
  const { library, builds } = await start(t, { snapshotChanges: 50, indexType: "flat" });
  for (let from = 0; from < 4_000; from += 500) await library.upsert(documents("d", 500, from));
  const indexConfig = { metric: "", scalar: "", connectivity: 0, expansionAdd: 512, expansionSearch: 0 };
  await builds.start("job", 1n, { indexType: "hnsw", minRecall: 0.01, indexConfig });
  for (let n = 0; n < 400; n++) await library.upsert(documents("w", 1, n));
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
});

test("a build that is dropped while the old index is measured lets go of it", async (t) => {
  const { service, library, builds } = await start(t);
  await library.upsert(documents("d", 500));
  const { use } = Generation.prototype;
  t.after(() => {
    Generation.prototype.use = use;
  });
  let dropped: Promise<void> | undefined;
  Generation.prototype.use = function (run) {
    return use.call(this, async (index) => {
      dropped ??= builds.drop("job", 1n);
      await dropped;
      return run(index);
    }) as never;
  };
  await builds.start("job", 1n, { minRecall: 0.01 });
  await eventually(() => dropped !== undefined, { what: "the old index to be measured" });
  await dropped;
  Generation.prototype.use = use;
  await service.libraries.delete("a");
});

test("vectors that come for a build that is being dropped leave nothing", async (t) => {
  const { service, library, builds } = await start(t);
  await library.upsert(documents("d", 200));
  for (let round = 0; round < 5; round++) {
    const jobId = `job-${round}`;
    const embedding = { provider: "none", model: jobId, dimensions: 16 };
    await builds.start(jobId, 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding });
    const { chunks, throughKey } = await builds.readChunks(jobId, 1n, 50);
    const keys = chunks.map(({ key }) => key);
    const rows = packed(...keys.map((key) => seededVector(Number(key), 16)));
    await Promise.allSettled([
      builds.drop(jobId, 1n),
      builds.writeVectors(jobId, 1n, throughKey, keys, rows),
    ]);
  }
  // Read only: a second writer in this process would wait for the first one's transaction, which needs this very thread.
  const env = open({ path: join(service.folder, "libraries", "1", "store"), readOnly: true, maxDbs: 32 });
  t.after(() => env.close());
  // In a store that is only read what isn't there is undefined.
  const keys = (name: string): number => (env.openDB({ name }) as Database | undefined)?.getKeysCount() ?? 0;
  await eventually(() => {
    env.resetReadTxn();
    assert.deepEqual(["vectors-1", "vectors-2", "vectors-3", "vector-sets"].map(keys), [0, 0, 0, 0]);
    return true;
  });
  assert.equal(keys("vectors"), 200, "what the live generation has is read");
});

test("a rollback and the end of a build on other vectors are one", async (t) => {
  const { library, builds } = await start(t);
  await library.upsert(documents("d", 300));
  await regenerated(builds);
  await builds.start("job", 1n, { minRecall: 0.01 });
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  const { drop } = GenerationWriter.prototype;
  t.after(() => {
    GenerationWriter.prototype.drop = drop;
  });
  let builtAtDrop: bigint | undefined;
  GenerationWriter.prototype.drop = async function (...args) {
    // As it would be found after a crash here.
    builtAtDrop = (await builds.library()).buildingGeneration;
    return drop.apply(this, args);
  };
  await builds.rollback();
  assert.equal(builtAtDrop, 0n);
  const build = await builds.get("job", 1n);
  assert.deepEqual([build.phase, build.errorCode], [BuildPhase.BUILD_PHASE_FAILED, "LIBRARY_CHANGED"]);
});

test("writers go on after a rollback that copied what was written meanwhile", async (t) => {
  const { library, builds } = await start(t);
  await library.upsert(documents("d", 300));
  await regenerated(builds);
  const { complete } = LibraryIndex.prototype;
  t.after(() => {
    LibraryIndex.prototype.complete = complete;
  });
  LibraryIndex.prototype.complete = async function () {
    await complete.call(this);
    for (let from = 0; from < 5_000; from += 500) await library.upsert(documents("w", 500, from));
  };
  await builds.rollback();
  LibraryIndex.prototype.complete = complete;
  await library.upsert(documents("x", 1));
  const { vectorCount, chunkCount } = await eventually(async () => {
    const now = await builds.library();
    return now.vectorCount === now.chunkCount ? now : undefined;
  });
  assert.deepEqual([chunkCount, vectorCount], [5_301n, 5_301n]);
});
