import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import {
  documentUpsert,
  type IndexServiceOptions,
  libraryRequest,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const call = { timeoutMs: 10_000 };

async function service(t: TestContext, options: IndexServiceOptions = {}): Promise<TestIndexService> {
  const started = await startIndexService(options);
  t.after(() => started.stop());
  return started;
}

test("creating is idempotent, and ids and names are unique", async (t) => {
  const { client } = await service(t);
  const create = (id: string, dimensions: number, name = id) =>
    unary(client, client.createLibrary, libraryRequest(id, dimensions, { name }), call);
  const first = await create("a", 4, "first");
  assert.match(first.embeddingId, /^[0-9a-f]{32}$/);
  assert.equal(first.library?.generation, 1n);
  assert.deepEqual(await create("a", 4, "first"), first);
  for (const clash of [
    create("a", 5, "first"),
    create("b", 4, "first"),
    create("b", 4, "a"),
    create("first", 4),
  ])
    await assert.rejects(clash, { code: "ALREADY_EXISTS", reason: "LIBRARY_ALREADY_EXISTS" });
  const both = await Promise.allSettled([create("c", 4), create("c", 4), create("d", 4, "c")]);
  assert.deepEqual(
    both.map(({ status }) => status),
    ["fulfilled", "fulfilled", "rejected"],
  );
  const byName = await unary(client, client.getLibrary, { visibleLibraries: [], libraryId: "first" }, call);
  assert.equal(byName.library?.libraryId, "a");
  const unknown = unary(client, client.getLibrary, { visibleLibraries: [], libraryId: "../../etc" }, call);
  await assert.rejects(unknown, { code: "NOT_FOUND", reason: "LIBRARY_NOT_FOUND" });
});

test("libraries are listed by name, page by page, also above the number that may be open", async (t) => {
  const { client } = await service(t, { maxOpen: 2 });
  const ids = ["e", "b", "d", "a", "c"];
  for (const id of ids) {
    const library = await TestLibrary.create(client, libraryRequest(id, 4));
    await library.upsert([documentUpsert(`of ${id}`, [seededVector(1, 4)])]);
  }
  const names: string[] = [];
  let pageToken = "";
  do {
    const page = await unary(
      client,
      client.listLibraries,
      { visibleLibraries: [], pageSize: 2, pageToken },
      call,
    );
    assert.ok(page.libraries.length <= 2);
    for (const library of page.libraries) assert.equal(library.documentCount, 1n);
    names.push(...page.libraries.map(({ name }) => name));
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
  assert.deepEqual(names, [...ids].sort());
  const bad = unary(
    client,
    client.listLibraries,
    { visibleLibraries: [], pageSize: 2, pageToken: "nonsense" },
    call,
  );
  await assert.rejects(bad, {
    code: "INVALID_ARGUMENT",
    violations: [{ field: "page_token", description: "not a token of this list" }],
  });
});

test("libraries beyond the limit are closed and come back as they were", async (t) => {
  const { client, libraries } = await service(t, { maxOpen: 2 });
  const all: TestLibrary[] = [];
  for (let i = 0; i < 6; i++) {
    const library = await TestLibrary.create(client, libraryRequest(`l${i}`, 8));
    await library.upsert([documentUpsert("d", [seededVector(i, 8)])]);
    all.push(library);
  }
  assert.ok(libraries.totals.open <= 2, `${libraries.totals.open} open`);
  const found = await Promise.all(all.map((library, i) => library.search(seededVector(i, 8), 1)));
  for (const { hits } of found) assert.equal(hits[0]?.score, 1);
});

test("a deleted library is gone with its name, and a new one begins empty", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 4));
  await library.upsert([documentUpsert("d", [seededVector(1, 4)])]);
  await unary(client, client.deleteLibrary, { libraryId: "a" }, call);
  await assert.rejects(library.search(seededVector(1, 4), 1), { reason: "LIBRARY_NOT_FOUND" });
  await assert.rejects(unary(client, client.deleteLibrary, { libraryId: "a" }, call), {
    reason: "LIBRARY_NOT_FOUND",
  });
  const again = await TestLibrary.create(client, libraryRequest("a", 6));
  assert.deepEqual((await again.search(seededVector(1, 6), 1)).hits, []);
});

test("deleting a library ends running upserts and searches with LIBRARY_NOT_FOUND", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 128));
  const documents = (n: number) =>
    Array.from({ length: 300 }, (_, i) => documentUpsert(`d${n}-${i}`, [seededVector(n * 300 + i, 128)]));
  await library.upsert(documents(0));
  const upserts = Array.from({ length: 20 }, (_, n) => library.upsert(documents(n + 1)));
  const searches = Array.from({ length: 20 }, (_, n) =>
    library.search(seededVector(n, 128), 5, { exact: n % 2 === 0 }),
  );
  const deleted = unary(client, client.deleteLibrary, { libraryId: "a" }, call);
  const outcomes = await Promise.allSettled([...upserts, ...searches]);
  await deleted;
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures) assert.equal(reason.reason, "LIBRARY_NOT_FOUND");
  await assert.rejects(library.upsert(documents(50)), { reason: "LIBRARY_NOT_FOUND" });
  const next = await TestLibrary.create(client, libraryRequest("b", 4));
  assert.equal(await next.upsert([documentUpsert("d", [seededVector(1, 4)])]), 1n);
});
