import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { embeddingId } from "../../../platform/embedding/embedding-id.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { type Build, BuildKind, BuildPhase } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { eventually } from "../../support/eventually.ts";
import { heldGenerations, TestBuilds } from "../../support/index-builds.ts";
import {
  documentUpsert,
  type IndexServiceOptions,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";

/** Vectors of another embedding are brought while the library answers with the old ones; and the way back. */

const CALL = { timeoutMs: 30_000 };
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

interface Model {
  readonly embedding: { readonly provider: string; readonly model: string; readonly dimensions: number };
  readonly id: string;
}

const model = (name: string, dimensions: number): Model => {
  const embedding = { provider: "none", model: name, dimensions };
  return { embedding, id: embeddingId(embedding) };
};
const OLD = model("", 16);
const NEW = model("new", 24);

/** Each text has one vector in each model. */
function vectorOf(text: string, { embedding }: Model): Float32Array {
  const seed =
    [...`${embedding.model}/${text}`].reduce((sum, c) => Math.imul(sum, 31) + c.charCodeAt(0), 7) >>> 0;
  const centre = seededVector(seed % 15, embedding.dimensions);
  return seededVector(seed, embedding.dimensions).map((value, n) => 0.5 * value + (centre[n] as number));
}

const textsOf = (i: number): string[] => [`first text of ${i}`, `second text of ${i}`];
const document = (i: number, by: Model) =>
  documentUpsert(
    `d${i}`,
    textsOf(i).map((text) => vectorOf(text, by)),
    { texts: textsOf(i) },
  );

async function setUp(t: TestContext, options: IndexServiceOptions = {}) {
  const folder = options.folder ?? (await tempDir(t));
  const service = await startIndexService({ ...options, folder });
  t.after(() => service.stop({ keep: true }));
  const library = await TestLibrary.create(service.client, {
    ...libraryRequest("a", OLD.embedding.dimensions),
    embedding: OLD.embedding,
  });
  const builds = new TestBuilds(t, service.client, service.address, "a");
  return { folder, service, library, builds };
}

/** Writes under a model, whatever the library's first one was. */
function upsert(library: TestLibrary, ids: readonly number[], by: Model): Promise<bigint> {
  return library.upsertAs(
    by.id,
    ids.map((i) => document(i, by)),
  );
}

const search = (library: TestLibrary, text: string, by: Model) =>
  library.search(vectorOf(text, by), 1, { embeddingId: by.id });

async function assertFound(library: TestLibrary, ids: readonly number[], by: Model): Promise<void> {
  let found = 0;
  for (const i of ids) {
    const { hits } = await search(library, `second text of ${i}`, by);
    if (hits[0]?.chunkId === `d${i}#1`) found += 1;
  }
  assert.ok(found >= 0.98 * ids.length, `${found} of ${ids.length}`);
}

/** Reads a page of chunks and brings their vectors. @returns how many */
async function embedPage(builds: TestBuilds, jobId: string, limit: number, by: Model): Promise<number> {
  const { client, libraryId } = builds;
  const fence = { jobId, lease: 1n };
  const page = await unary(client, client.readBuildChunks, { libraryId, fence, limit, afterKey: 0n }, CALL);
  if (page.chunks.length === 0) return 0;
  const vectors = packed(...page.chunks.map(({ text }) => vectorOf(text, by)));
  const keys = page.chunks.map(({ key }) => key);
  const request = { libraryId, fence, throughKey: page.throughKey, keys, vectors };
  await unary(client, client.writeBuildVectors, request, CALL);
  return keys.length;
}

/** Brings vectors until it is swapped. */
async function regenerate(builds: TestBuilds, jobId: string, to: Model): Promise<Build> {
  await builds.start(jobId, 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding: to.embedding });
  return finish(builds, jobId, to);
}

async function finish(builds: TestBuilds, jobId: string, to: Model): Promise<Build> {
  return eventually(
    async () => {
      while ((await embedPage(builds, jobId, 500, to)) > 0);
      const { build } = await builds.swap(jobId, 1n);
      return build.phase >= BuildPhase.BUILD_PHASE_SWAPPED ? build : undefined;
    },
    { timeoutMs: 60_000 },
  );
}

test("a library goes over to another embedding while it is written and searched, never both at once", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  for (const n of upTo(4))
    await upsert(
      library,
      upTo(250).map((i) => n * 250 + i),
      OLD,
    );
  await builds.start("job", 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding: NEW.embedding });
  let current = OLD;
  let next = 2_000;
  let running = true;
  const changedTo = (error: { reason?: string; metadata?: Record<string, string> }): Model => {
    assert.equal(error.reason, "EMBEDDING_CHANGED");
    assert.equal(error.metadata?.embedding_id, NEW.id);
    return NEW;
  };
  const writes = (async () => {
    while (running) {
      const by = current;
      await upsert(library, [next], by).catch((error) => {
        assert.equal(by, OLD);
        current = changedTo(error);
        next -= 1;
      });
      next += 1;
    }
  })();
  const answers: string[] = [];
  const searches = (async () => {
    let by = OLD;
    for (let i = 0; running; i++) {
      const text = `first text of ${i % 900}`;
      const answer = await search(library, text, by).catch((error) => {
        by = changedTo(error);
        return undefined;
      });
      if (!answer) continue;
      assert.equal(answer.generation, by === OLD ? 1n : 2n);
      assert.ok(Math.abs(answer.hits[0]?.distance ?? 1) < 1e-6, "an answer of the other embedding");
      answers.push(by.id);
    }
  })();
  while ((await embedPage(builds, "job", 300, NEW)) > 0) {
    const { chunksEmbedded, chunksTotal } = await builds.get("job", 1n);
    assert.ok(chunksEmbedded <= chunksTotal);
    if (chunksTotal - chunksEmbedded < 200n) break;
  }
  const done = await finish(builds, "job", NEW);
  assert.equal(done.phase, BuildPhase.BUILD_PHASE_SWAPPED, done.errorMessage);
  await eventually(() => answers.at(-1) === NEW.id && current === NEW);
  running = false;
  await Promise.all([writes, searches]);
  const { chunkCount, embedding } = await builds.library();
  assert.deepEqual(embedding?.model, "new");
  assert.equal(Number(chunkCount), 2 * (1_000 + next - 2_000));
  assert.equal(done.figures?.oldRecallAt10, 0);
  await assertFound(library, [...upTo(100), ...upTo(next - 2_000).map((i) => 2_000 + i)], NEW);
  await service.stop({ keep: true });
  const held = await heldGenerations(folder);
  assert.deepEqual(held, { generations: [1, 2], building: false, previous: true });
});

test("upserts are held while few vectors are missing, and let go when they don't come", async (t) => {
  const { library, builds } = await setUp(t);
  await upsert(library, upTo(50), OLD);
  await builds.start("job", 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding: NEW.embedding });
  while ((await embedPage(builds, "job", 500, NEW)) > 0);
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  await upsert(library, [100], OLD);
  const { build, held } = await builds.swap("job", 1n);
  assert.equal(build.phase, BuildPhase.BUILD_PHASE_READY);
  assert.equal(held, true);
  const began = performance.now();
  const waiting = upsert(library, [101], OLD).then(() => performance.now() - began);
  const waited = await waiting;
  assert.ok(waited > 1_000 && waited < 4_000, `${waited} ms`);
  // Held again: now the vectors come in time, and the write that waits is told of the new embedding.
  assert.equal((await builds.swap("job", 1n)).held, true);
  const late = assert.rejects(upsert(library, [102], OLD), { reason: "EMBEDDING_CHANGED" });
  assert.equal(await embedPage(builds, "job", 500, NEW), 4);
  assert.equal((await builds.swap("job", 1n)).build.phase, BuildPhase.BUILD_PHASE_SWAPPED);
  await late;
  await assertFound(library, [...upTo(50), 100, 101], NEW);
});

test("wrong vectors are refused, a page that comes twice is fine, and chunks that are gone are passed over", async (t) => {
  const { library, builds } = await setUp(t);
  await upsert(library, upTo(20), OLD);
  const { client, libraryId } = builds;
  await builds.start("job", 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding: NEW.embedding });
  const fence = { jobId: "job", lease: 1n };
  const read = { libraryId, fence, limit: 10, afterKey: 0n };
  const page = await unary(client, client.readBuildChunks, read, CALL);
  assert.deepEqual(
    page.chunks.map(({ key }) => key),
    upTo(10).map((i) => BigInt(i + 1)),
  );
  assert.equal(page.throughKey, 10n);
  const ahead = await unary(client, client.readBuildChunks, { ...read, afterKey: 10n }, CALL);
  assert.equal(ahead.chunks[0]?.key, 11n);
  const keys = page.chunks.map(({ key }) => key);
  const vectors = packed(...page.chunks.map(({ text }) => vectorOf(text, NEW)));
  const write = { libraryId, fence, throughKey: 10n, keys, vectors };
  const faults = {
    through_key: { ...write, throughKey: 41n },
    keys: { ...write, keys: keys.slice(1), vectors: vectors.subarray(96) },
    vectors: { ...write, vectors: vectors.subarray(4) },
  };
  for (const [field, request] of Object.entries(faults))
    await assert.rejects(
      unary(client, client.writeBuildVectors, request, CALL),
      (error: { violations: unknown }) => {
        assert.equal((error.violations as { field: string }[])[0]?.field, field);
        return true;
      },
    );
  const poisoned = Buffer.from(vectors);
  poisoned.writeFloatLE(Number.NaN, 40);
  const poison = unary(client, client.writeBuildVectors, { ...write, vectors: poisoned }, CALL);
  await assert.rejects(poison, { code: "INVALID_ARGUMENT" });
  await library.delete(["d0"]);
  for (const _ of upTo(2)) await unary(client, client.writeBuildVectors, write, CALL);
  const build = await builds.get("job", 1n);
  assert.equal(build.chunksEmbedded, 8n);
  assert.equal(build.chunksTotal, 38n);
  assert.equal((await finish(builds, "job", NEW)).figures?.vectors, 38n);
  const rebuild = await builds.start("other", 2n);
  assert.equal(rebuild.phase, BuildPhase.BUILD_PHASE_BUILDING);
  const wrong = unary(
    client,
    client.readBuildChunks,
    { ...read, fence: { jobId: "other", lease: 2n } },
    CALL,
  );
  await assert.rejects(wrong, { reason: "BUILD_NOT_FOUND" });
});

test("vectors of an embedding that the library had before are known; the same embedding again is made anew", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await upsert(library, upTo(30), OLD);
  await regenerate(builds, "over", NEW);
  const { client, libraryId } = builds;
  const chunksOf = async (jobId: string, to: Model) => {
    await builds.start(jobId, 1n, { kind: BuildKind.BUILD_KIND_REGENERATE, embedding: to.embedding });
    const request = { libraryId, fence: { jobId, lease: 1n }, limit: 100, afterKey: 0n };
    return (await unary(client, client.readBuildChunks, request, CALL)).chunks;
  };
  const back = await chunksOf("back", OLD);
  assert.equal(back.length, 60);
  for (const { text, vector } of back) assert.deepEqual(vector, packed(vectorOf(text, OLD)));
  await builds.drop("back", 1n);
  const anew = await chunksOf("anew", NEW);
  assert.ok(anew.every(({ vector }) => vector.length === 0));
  await finish(builds, "anew", NEW);
  await assertFound(library, upTo(30), NEW);
  await service.stop({ keep: true });
  const held = await heldGenerations(folder);
  assert.deepEqual(held, { generations: [2, 4], building: false, previous: true });
});

test("a rollback brings the rebuilt index back with what was written since", async (t) => {
  const { folder, service, library, builds } = await setUp(t, { snapshotChanges: 200 });
  for (const n of upTo(4))
    await upsert(
      library,
      upTo(100).map((i) => n * 100 + i),
      OLD,
    );
  await assert.rejects(builds.rollback(), { code: "FAILED_PRECONDITION", reason: "NO_PREVIOUS_GENERATION" });
  await builds.rebuild("job", { indexType: "flat" });
  // Many changes: the log no longer goes back to the old index's file.
  for (const n of upTo(6))
    await upsert(
      library,
      upTo(50).map((i) => 1_000 + n * 50 + i),
      OLD,
    );
  await library.delete(upTo(50).map((i) => `d${i}`));
  const [one, two] = await Promise.all([builds.rollback(), builds.rollback()]);
  assert.equal(one.generation, 1n);
  assert.deepEqual(one.indexType, two.indexType);
  assert.equal(one.indexType, "hnsw");
  assert.equal(one.previousGeneration, 0n);
  await eventually(async () => (await builds.library()).vectorCount === 1_300n);
  await assertFound(library, [...upTo(100).map((i) => 50 + i), ...upTo(300).map((i) => 1_000 + i)], OLD);
  const gone = await library.search(vectorOf("first text of 3", OLD), 1);
  assert.notEqual(gone.hits[0]?.documentId, "d3");
  await assert.rejects(builds.rollback(), { reason: "NO_PREVIOUS_GENERATION" });
  const again = await builds.rebuild("after");
  assert.equal(again.generation, 3n);
  await service.stop({ keep: true });
  const held = await heldGenerations(folder);
  assert.deepEqual(held, { generations: [1, 3], building: false, previous: true });
});

test("a rollback to another embedding is fine until something is written", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await upsert(library, upTo(50), OLD);
  await regenerate(builds, "one", NEW);
  await library.delete(["d7"]);
  const back = await builds.rollback();
  assert.equal(back.generation, 1n);
  assert.equal(back.embedding?.dimensions, 16);
  await assertFound(library, upTo(7), OLD);
  await regenerate(builds, "two", NEW);
  await upsert(library, [60], NEW);
  await assert.rejects(builds.rollback(), { code: "FAILED_PRECONDITION", reason: "EMBEDDING_CHANGED" });
  assert.equal((await builds.library()).previousGeneration, 1n);
  await assertFound(library, [60], NEW);
  await service.stop({ keep: true });
  const held = await heldGenerations(folder);
  assert.deepEqual(held, { generations: [1, 3], building: false, previous: true });
});

test("a rollback over vectors made anew takes what was written since along, and ends a build of the others", async (t) => {
  const { folder, service, library, builds } = await setUp(t);
  await upsert(library, upTo(50), OLD);
  await regenerate(builds, "anew", OLD);
  await upsert(
    library,
    upTo(700).map((i) => 100 + i),
    OLD,
  );
  await builds.start("job", 1n);
  await builds.until("job", 1n, BuildPhase.BUILD_PHASE_READY);
  assert.equal((await builds.rollback()).generation, 1n);
  const failed = await builds.get("job", 1n);
  assert.equal(failed.errorCode, "LIBRARY_CHANGED");
  await assertFound(library, [...upTo(50), ...upTo(100).map((i) => 200 + i)], OLD);
  await upsert(library, [60], OLD);
  await assertFound(library, [60], OLD);
  await service.stop({ keep: true });
  const held = await heldGenerations(folder);
  assert.deepEqual(held, { generations: [1], building: false, previous: false });
});
