import assert from "node:assert/strict";
import { cp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pino } from "pino";
import { unary } from "../../../platform/grpc/client.ts";
import type { Logger } from "../../../platform/log.ts";
import type { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { openStore, readSnapshot, readState } from "../../../services/index/store.ts";
import { eventually } from "../../support/eventually.ts";
import { startIndexProcess } from "../../support/index-process.ts";
import {
  documentUpsert,
  libraryRequest,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";

const call = { timeoutMs: 10_000 };
const DIMENSIONS = 64;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Version v of document i: its title says so, its vector is unlike all others. */
const version = (i: number, v: number) =>
  documentUpsert(`d${i}`, [seededVector(i * 1_000 + v, DIMENSIONS)], { title: `v${v}` });

async function libraryMessage(client: IndexServiceClient) {
  const { library } = await unary(client, client.getLibrary, { visibleLibraries: [], libraryId: "a" }, call);
  assert.ok(library);
  return library;
}

/** Waits until everything stored is in the index, and checks that there is nothing else. */
async function indexed(client: IndexServiceClient): Promise<void> {
  await eventually(async () => {
    const { vectorCount, chunkCount } = await libraryMessage(client);
    return vectorCount === chunkCount;
  });
}

/** A line per warning. */
function warnings(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const log: Logger = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
  return { log, lines };
}

test("kill -9 in the middle of upserts, again and again, loses nothing acknowledged", async (t) => {
  const data = await tempDir(t);
  const acknowledged = new Map<number, number>();
  const attempted = new Map<number, number>();
  for (let round = 1; round <= 3; round++) {
    const service = await startIndexProcess(data, {
      ARRW_INDEX_SNAPSHOT_CHANGES: "1500",
      ARRW_LOG_LEVEL: "warn",
    });
    const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
    let batches = 0;
    const writing = upTo(4).map(async (writer) => {
      for (let from = writer * 1_000; ; from = writer * 1_000 + ((from + 40) % 1_000)) {
        const ids = upTo(40).map((j) => from + j);
        for (const i of ids) attempted.set(i, round);
        await library.upsert(ids.map((i) => version(i, round)));
        for (const i of ids) acknowledged.set(i, round);
        batches += 1;
      }
    });
    const failed = Promise.allSettled(writing);
    await eventually(() => batches >= 20 * round, { timeoutMs: 30_000 });
    assert.equal(await service.kill("SIGKILL"), null);
    await failed;
    assert.deepEqual(service.lines, []);
  }
  const service = await startIndexProcess(data, { ARRW_INDEX_SNAPSHOT_CHANGES: "1500" });
  t.after(() => service.kill("SIGTERM"));
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
  assert.ok(acknowledged.size > 500);
  await indexed(service.client);
  const stored = await storedVersions(service.client);
  for (const [i, v] of acknowledged) {
    // A write whose answer was lost may have happened: the newest is then the attempted one.
    const found = stored.get(i) ?? -1;
    assert.ok(found >= v && found <= (attempted.get(i) ?? v), `d${i}: v${found}, acknowledged v${v}`);
  }
  const sample = [...acknowledged.keys()].filter((_, n) => n % 5 === 0);
  let throughIndex = 0;
  for (const i of sample) {
    const query = seededVector(i * 1_000 + (stored.get(i) ?? 0), DIMENSIONS);
    const exact = await library.search(query, 1, { exact: true });
    assert.equal(exact.hits[0]?.documentId, `d${i}`);
    assert.equal(exact.hits[0]?.title, `v${stored.get(i)}`);
    const { hits } = await library.search(query, 1);
    if (hits[0]?.documentId === `d${i}`) throughIndex += 1;
  }
  assert.ok(throughIndex >= 0.99 * sample.length, `${throughIndex} of ${sample.length}`);
  const { chunkCount, documentCount } = await libraryMessage(service.client);
  assert.equal(chunkCount, documentCount);
  assert.equal(Number(documentCount), stored.size);
});

async function storedVersions(client: IndexServiceClient): Promise<Map<number, number>> {
  const versions = new Map<number, number>();
  let pageToken = "";
  do {
    const request = { libraryId: "a", filter: undefined, pageSize: 500, pageToken, includeTexts: false };
    const page = await unary(client, client.listDocuments, request, call);
    for (const { documentId, title } of page.documents)
      versions.set(Number(documentId.slice(1)), Number(title.slice(1)));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  return versions;
}

test("a second process on the same folder gives one clear line; a dead one's lock is taken over", async (t) => {
  const data = await tempDir(t);
  const first = await startIndexProcess(data);
  const second = startIndexProcess(data);
  await assert.rejects(second, /lock is held by process \d+/);
  await first.kill("SIGKILL");
  const third = await startIndexProcess(data);
  assert.equal(await third.kill("SIGTERM"), 0);
});

/** A service with a library of 600 chunks in a snapshot, stopped; returns its folder and the snapshot's path. */
async function stopped(t: TestContext): Promise<{ folder: string; snapshot: string }> {
  const folder = await tempDir(t);
  const service = await startIndexService({ folder });
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
  await library.upsert(upTo(600).map((i) => version(i, 0)));
  await indexed(service.client);
  await library.delete(upTo(100).map((i) => `d${i}`));
  await indexed(service.client);
  await service.stop({ keep: true });
  return { folder, snapshot: await snapshotOf(folder) };
}

async function snapshotOf(folder: string): Promise<string> {
  const index = join(folder, "libraries", "1", "index");
  const names = await readdir(index);
  assert.deepEqual(
    names.map((name) => /^1-\d+-\d+\.usearch$/.test(name)),
    [true],
    names.join(" "),
  );
  return join(index, names[0] as string);
}

async function assertWhole(service: TestIndexService): Promise<void> {
  const library = await TestLibrary.create(service.client, libraryRequest("a", DIMENSIONS));
  for (const exact of [true, false]) {
    for (const i of [100, 101, 350, 599]) {
      const { hits } = await library.search(seededVector(i * 1_000, DIMENSIONS), 1, { exact });
      assert.equal(hits[0]?.documentId, `d${i}`);
    }
    assert.equal((await library.search(seededVector(1, DIMENSIONS), 1_000, { exact })).hits.length, 500);
  }
  await indexed(service.client);
  assert.equal((await libraryMessage(service.client)).vectorCount, 500n);
}

test("a stopped service leaves a snapshot that the next start uses, tombstones and all", async (t) => {
  const { folder, snapshot } = await stopped(t);
  const before = await stat(snapshot);
  const { log, lines } = warnings();
  const service = await startIndexService({ folder, log });
  t.after(() => service.stop());
  assert.equal((await libraryMessage(service.client)).tombstoneCount, 100n);
  await assertWhole(service);
  assert.deepEqual(lines, []);
  assert.equal((await stat(snapshot)).mtimeMs, before.mtimeMs);
});

const damages: Record<string, (path: string) => Promise<void>> = {
  "with a flipped bit": async (path) => {
    const bytes = await readFile(path);
    const at = Math.floor(bytes.length * 0.9);
    bytes[at] = (bytes[at] ?? 0) ^ 4;
    await writeFile(path, bytes);
  },
  "cut short": async (path) => truncate(path, 10_000),
  empty: async (path) => truncate(path, 0),
  "that is something else": async (path) => writeFile(path, "not an index at all ".repeat(10_000)),
  "of another library": async (path) => cp(join(import.meta.dirname, "../../../package-lock.json"), path),
};
for (const [name, damage] of Object.entries(damages)) {
  test(`a snapshot ${name} is rebuilt from the stored vectors, with a warning`, async (t) => {
    const { folder, snapshot } = await stopped(t);
    await damage(snapshot);
    const { log, lines } = warnings();
    const service = await startIndexService({ folder, log });
    t.after(() => service.stop());
    await assertWhole(service);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", /the index is rebuilt from the stored vectors/);
  });
}

test("a missing snapshot is rebuilt with a warning, and strange files beside it are removed", async (t) => {
  const { folder, snapshot } = await stopped(t);
  await cp(snapshot, join(snapshot, "../half-written.tmp"));
  await cp(snapshot, join(snapshot, "../1-999999-999999.usearch"));
  await rm(snapshot);
  const { log, lines } = warnings();
  const service = await startIndexService({ folder, log });
  await assertWhole(service);
  assert.equal(lines.length, 1);
  await service.stop({ keep: true });
  await snapshotOf(folder);
});

test("a killed process replays no more than it may, and the change log ends at the snapshot", async (t) => {
  const data = await tempDir(t);
  const snapshotChanges = 400;
  const env = { ARRW_INDEX_SNAPSHOT_CHANGES: String(snapshotChanges), ARRW_LOG_LEVEL: "warn" };
  const first = await startIndexProcess(data, env);
  const library = await TestLibrary.create(first.client, libraryRequest("a", DIMENSIONS));
  for (const v of [0, 1, 2])
    for (const n of upTo(10)) await library.upsert(upTo(30).map((i) => version(n * 30 + i, v)));
  await first.kill("SIGKILL");
  const store = openStore(join(data, "index", "libraries", "1", "store"));
  const state = readState(store);
  const snapshot = readSnapshot(store);
  const logged = [...store.changes.getKeys()];
  await store.env.close();
  assert.ok(snapshot);
  assert.equal(state.nextKey, 901);
  const replayed = state.nextKey - 1 - snapshot.addedThrough + state.removedTotal - snapshot.removedTotal;
  assert.ok(replayed <= snapshotChanges, `${replayed} to replay`);
  assert.equal(logged.at(-1), state.change);
  assert.ok(logged.length < 30, `${logged.length} changes kept`);
  const second = await startIndexProcess(data, env);
  t.after(() => second.kill("SIGTERM"));
  await indexed(second.client);
  assert.equal((await libraryMessage(second.client)).vectorCount, 300n);
});
