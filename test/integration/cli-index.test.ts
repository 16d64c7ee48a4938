import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { type System, startSystem } from "../../cli/supervisor.ts";
import { ArrwClient } from "../../client/index.ts";
import { arrw, type CliResult, userEnv } from "../support/arrw.ts";
import { realDocuments } from "../support/corpus.ts";
import { eventually } from "../support/eventually.ts";

// One system for all tests here: it takes seconds to start.
let system: System;
let client: ArrwClient;
before(async () => {
  system = await startSystem({ env: userEnv(), temporary: true, syncAlways: false });
  client = new ArrwClient({ address: system.address });
});
after(async () => {
  client.close();
  await system.stop();
});

const run = (...args: string[]): Promise<CliResult> => arrw(system.address, args);

async function printed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(...args);
  assert.equal(code, 0, stderr);
  return stdout;
}

async function filled(name: string): Promise<void> {
  const { libraryId } = await client.createLibrary({ name });
  await client.wait((await client.importDocuments(libraryId, realDocuments(60, 3))).jobId);
  await eventually(async () => {
    const { vectorCount, chunkCount } = await client.getLibrary(libraryId);
    return vectorCount === chunkCount;
  });
}

test("a rebuild is watched and shows its figures; the library shows both generations; a rollback goes back", async () => {
  await filled("rebuilt");
  const rebuilt = await printed("index", "rebuild", "rebuilt", "--type", "flat", "--metric", "ip");
  assert.match(rebuilt, /^completed {2}[\d,]+ vectors, recall@10 1\.000, generation 2, in [\d.]+ s\n/);
  assert.match(rebuilt, /\n +BEFORE +NOW\n +index +hnsw +flat\n +recall@10 +[\d.]+ +1\.000\n/);
  assert.match(rebuilt, /\n +measured on \d+ searches, built in [\d.]+ s\n$/);
  const shown = await printed("library", "get", "rebuilt");
  assert.match(shown, /\n +index +flat, ip, bf16, M 16\n/);
  assert.match(
    shown,
    /\n +generation +2\n +before it +1, until .*: `arrw index rollback rebuilt` goes back to it\n/,
  );
  const back = await printed("index", "rollback", "rebuilt");
  assert.match(back, /^rebuilt\n/);
  assert.match(back, /\n +index +hnsw, cos, /);
  const again = await run("index", "rollback", "rebuilt");
  assert.equal(again.code, 1);
  assert.match(again.stderr, /^error: /);
});

test("an optimize says what it freed, or that there is nothing to do", async () => {
  await filled("optimized");
  assert.match(
    await printed("index", "optimize", "optimized"),
    /^completed {2}nothing to optimize: no removed vectors, in /,
  );
  await client.deleteDocument("optimized", "doc-000000");
  await eventually(async () => (await client.getLibrary("optimized")).tombstoneCount > 0n);
  const text = await printed("index", "optimize", "optimized");
  assert.match(
    text,
    /^completed {2}\d removed vectors? dropped, .* (less|more) in memory, .* on disk, generation 2, in /,
  );
});

test("a regenerate takes what is left out from the library", async () => {
  await filled("regenerated");
  const text = await printed("index", "regenerate", "regenerated", "--dimensions", "384");
  assert.match(
    text,
    /^completed {2}[\d,]+ chunks embedded by hashing ngram-v1, 384 dimensions.*, generation 2, in /,
  );
  const { embedding } = await client.getLibrary("regenerated");
  assert.deepEqual([embedding?.provider, embedding?.dimensions], ["hashing", 384]);
  const anew = await run("index", "regenerate", "regenerated", "--json");
  assert.equal(anew.code, 0, anew.stderr);
  const last = JSON.parse(anew.stdout.trim().split("\n").at(-1) ?? "");
  assert.equal(last.result.regenerate_embeddings.generation, 3);
});

test("a job that is only submitted, and wrong options", async () => {
  await filled("detached");
  assert.match(await printed("index", "rebuild", "detached", "--no-watch"), /^job \S+\n {2}watch it /);
  const wrong = await run("index", "rebuild", "detached", "--type", "tree", "--min-recall", "2");
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--type: one of hnsw, flat/);
  assert.match(wrong.stderr, /--min-recall: 0\.\.1; got 2/);
  const gated = await run("index", "rebuild", "nowhere");
  assert.match(gated.stderr, /^error: library "nowhere" does not exist/);
});
