import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "../../../platform/log.ts";
import { ChangeLog } from "../../../services/index/change-log.ts";
import { EventLog } from "../../../services/index/event-log.ts";
import { LibraryIndex } from "../../../services/index/library-index.ts";
import { LibraryWriter } from "../../../services/index/library-writer.ts";
import { type GenerationRow, openStore, readSnapshot, readState } from "../../../services/index/store.ts";
import { VectorPool } from "../../../services/index/vector-pool.ts";
import { eventually } from "../../support/eventually.ts";
import { packed, seededVector } from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";

/** Snapshots of large indexes are built beside the serving thread: here every index counts as large. */

const DIMENSIONS = 32;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const never = new AbortController().signal;

const write = (i: number) => ({
  documentId: `d${i}`,
  title: "",
  author: "",
  tags: [],
  sourceUrl: "",
  metadata: undefined,
  texts: ["text"],
  vectors: packed(seededVector(i, DIMENSIONS)),
});

async function setUp(t: TestContext, folder: string) {
  const pool = new VectorPool({
    threads: 1,
    cacheBytes: 16 * 1024 * 1024,
    log: silentLog(),
    onDeath: (error) => {
      throw error;
    },
  });
  await pool.start();
  t.after(() => pool.stop());
  const store = openStore(join(folder, "store"));
  const shape = {
    metric: "cos",
    scalar: "bf16",
    connectivity: 16,
    expansionAdd: 64,
    expansionSearch: 64,
  } as const;
  const embedding = { provider: "none", model: "", dimensions: DIMENSIONS };
  const generation: GenerationRow = {
    ...shape,
    generation: 1,
    embedding,
    embeddingId: "e",
    indexType: "hnsw",
    vectors: "vectors",
    createdAtMs: 0,
  };
  await store.generations.put(1, generation);
  await mkdir(join(folder, "index"));
  const spec = {
    storeFolder: join(folder, "store"),
    folder: join(folder, "index"),
    vectors: generation.vectors,
    indexType: generation.indexType,
    building: false,
    parameters: { ...shape, dimensions: DIMENSIONS },
  };
  const open = (): Promise<LibraryIndex> =>
    LibraryIndex.open({
      store,
      changeLog: new ChangeLog(store),
      generation: generation.generation,
      spec,
      dedicated: false,
      pool,
      log: silentLog(),
      snapshotChanges: 400,
      maxBehind: 200,
      ownSaveBytes: 0,
    });
  const writer = new LibraryWriter(store, new EventLog(store, 1_000), { keep: () => undefined });
  return { pool, store, writer, generation, open };
}

test("a snapshot is built from the one before and the changes since, and loads as what is stored", async (t) => {
  const { pool, store, writer, generation, open } = await setUp(t, await tempDir(t));
  let builds = 0;
  const build = pool.buildSnapshot.bind(pool);
  pool.buildSnapshot = (...request) => {
    builds += 1;
    return build(...request);
  };
  const index = await open();
  for (const round of upTo(30)) {
    await index.room(50, never);
    await writer.upsert(
      undefined,
      generation,
      upTo(50).map((i) => write(round * 50 + i)),
    );
    await writer.delete(
      undefined,
      upTo(10).map((i) => `d${round * 50 + i}`),
    );
    index.changed();
  }
  await eventually(() => index.behind === 0);
  await index.close(true);
  assert.ok(builds >= 2, `${builds} builds`);
  const snapshot = readSnapshot(store);
  assert.ok(snapshot);
  assert.ok(snapshot.addedThrough > 1_000);
  const again = await open();
  await eventually(() => again.behind === 0 && again.progress.size === readState(store).chunks);
  assert.equal(again.progress.size, 1_200);
  let found = 0;
  for (const i of upTo(1_500).filter((each) => each % 50 >= 10)) {
    const { distances } = await again.search({
      mode: "hnsw",
      vector: seededVector(i, DIMENSIONS),
      k: 1,
      ef: 64,
    });
    if (Math.abs(distances[0] ?? 1) < 1e-9) found += 1;
  }
  assert.ok(found >= 1_188, `${found} of 1200`);
  await again.close(false);
  await store.env.close();
});

test("closing doesn't wait for a build", async (t) => {
  const { pool, store, writer, generation, open } = await setUp(t, await tempDir(t));
  const index = await open();
  await writer.upsert(undefined, generation, upTo(250).map(write));
  index.changed();
  await eventually(() => readSnapshot(store));
  let began = (): void => undefined;
  const building = new Promise<void>((resolve) => {
    began = resolve;
  });
  const build = pool.buildSnapshot.bind(pool);
  let outcome: Promise<unknown> | undefined;
  pool.buildSnapshot = (spec, from, path, _through) => {
    // More than there will ever be: it ends when it is told to.
    const running = build(spec, from, path, Number.MAX_SAFE_INTEGER);
    outcome = running.then(
      () => "built",
      (error: Error) => error.message,
    );
    began();
    return running;
  };
  await writer.upsert(
    undefined,
    generation,
    upTo(6_000).map((i) => write(1_000 + i)),
  );
  index.changed();
  await building;
  await index.close(false);
  assert.match(String(await outcome), /cancelled/);
  await store.env.close();
});
