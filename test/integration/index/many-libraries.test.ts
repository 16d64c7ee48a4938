import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { connect, unary } from "../../../platform/grpc/client.ts";
import { ChangeServiceClient } from "../../../proto/gen/arrwdb/index/v1/changes.ts";
import { startIndexProcess } from "../../support/index-process.ts";
import { documentUpsert, libraryRequest, seededVector, TestLibrary } from "../../support/index-service.ts";
import { tempDir } from "../../support/temp.ts";
import { WatchedLibrary } from "../../support/watched-library.ts";

const LIBRARIES = 1_000;
const WATCHED = 20;
const DIMENSIONS = 32;
const AT_A_TIME = 16;
const OPEN_FILES = 1_024;
const MAX_ANONYMOUS_KB = 900_000;
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

async function forAll(run: (i: number) => Promise<void>): Promise<void> {
  const left = upTo(LIBRARIES);
  const work = async (): Promise<void> => {
    for (let i = left.shift(); i !== undefined; i = left.shift()) await run(i);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, work));
}

test("1,000 libraries in one process that may have 1,024 files open: written, searched, watched, back after a restart", async (t) => {
  const folder = await tempDir(t);
  const options = { openFiles: OPEN_FILES };
  // As `arrw up` starts it.
  const env = { ARRW_LOG_LEVEL: "warn", MALLOC_MMAP_THRESHOLD_: "1048576" };
  const first = await startIndexProcess(folder, env, options);
  t.after(() => first.kill("SIGKILL"));
  const began = performance.now();
  const note = async (what: string): Promise<number> => {
    const status = await readFile(`/proc/${first.pid}/status`, "utf8");
    const [, anonymous] = /RssAnon:\s+(\d+ kB)/.exec(status) ?? [];
    t.diagnostic(`${what} at ${Math.round(performance.now() - began)} ms: RssAnon ${anonymous}`);
    return Number.parseInt(anonymous ?? "", 10);
  };
  await note("start");
  assert.match(await readFile(`/proc/${first.pid}/limits`, "utf8"), /Max open files +1024 +1024 /);
  const libraries: TestLibrary[] = [];
  const watches: WatchedLibrary[] = [];
  const changes = connect(ChangeServiceClient, first.address);
  let most = 0;
  const look = async (): Promise<void> => {
    most = Math.max(most, (await readdir(`/proc/${first.pid}/fd`)).length);
  };
  await forAll(async (i) => {
    const library = await TestLibrary.create(first.client, libraryRequest(`l${i}`, DIMENSIONS));
    libraries[i] = library;
    if (i < WATCHED)
      watches[i] = await new WatchedLibrary(changes, changes.watchChanges, library.id).started();
    await library.upsert([documentUpsert(`d${i}`, [seededVector(i, DIMENSIONS)])]);
    if (i % 50 === 0) await look();
  });
  await note("written");
  await forAll(async (i) => {
    const { hits } = (await libraries[i]?.search(seededVector(i, DIMENSIONS), 1)) ?? { hits: [] };
    assert.equal(hits[0]?.documentId, `d${i}`);
    if (i % 50 === 0) await look();
  });
  // 200 of them are open.
  assert.ok((await note("searched")) < MAX_ANONYMOUS_KB);
  for (const [i, watched] of watches.entries()) {
    await libraries[i]?.delete([`d${i}`]);
    await watched.count(2);
    assert.deepEqual(watched.told, [`upserted d${i}`, `deleted d${i}`]);
    await watched.stop();
  }
  changes.close();
  assert.ok(most < OPEN_FILES * 0.9, `${most} files open`);
  t.diagnostic(`${most} files open at most`);
  assert.equal(await first.kill("SIGTERM"), 0);
  assert.deepEqual(first.lines, []);

  const second = await startIndexProcess(folder, env, options);
  t.after(() => second.kill("SIGTERM"));
  const page = await unary(
    second.client,
    second.client.listLibraries,
    { visibleLibraries: [], pageSize: 1_000, pageToken: "" },
    { timeoutMs: 60_000 },
  );
  assert.equal(page.libraries.length, LIBRARIES);
  const documents = page.libraries.reduce((sum, { documentCount }) => sum + Number(documentCount), 0);
  assert.equal(documents, LIBRARIES - WATCHED);
  assert.deepEqual(second.lines, []);
});
