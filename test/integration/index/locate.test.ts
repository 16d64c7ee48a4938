import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { unary } from "../../../platform/grpc/client.ts";
import type { LocateDocumentsRequest } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { eventually } from "../../support/eventually.ts";
import {
  documentUpsert,
  libraryRequest,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

const CALL = { timeoutMs: 20_000 };

async function service(t: TestContext, libraries: Readonly<Record<string, readonly string[]>>) {
  const started = await startIndexService({ maxOpen: 4 });
  t.after(() => started.stop());
  for (const [id, documents] of Object.entries(libraries)) {
    const library = await TestLibrary.create(started.client, libraryRequest(id, 3, { name: `name-${id}` }));
    if (documents.length > 0)
      await library.upsert(documents.map((each, n) => documentUpsert(each, [seededVector(n, 3)])));
  }
  return started;
}

/** "library: places" of all pages, and how many there were. */
async function located({ client }: TestIndexService, asked: Partial<LocateDocumentsRequest>) {
  const lines: string[] = [];
  let pageToken = "";
  let pages = 0;
  do {
    const defaults = { libraryIds: [], visibleLibraries: [], documentIds: [], firstOnly: false };
    const request = { ...defaults, ...asked, pageToken };
    const page = await unary(client, client.locateDocuments, request, CALL);
    for (const { libraryId, places, titles } of page.libraries) {
      lines.push(`${libraryId}: ${places}`);
      assert.deepEqual(
        titles,
        request.firstOnly ? [] : places.map((place) => `title of ${request.documentIds[place]}`),
      );
    }
    pageToken = page.nextPageToken;
    pages += 1;
  } while (pageToken !== "");
  return { lines: lines.sort(), pages };
}

test("documents are found in every library that has them, in those that are named, and in those that are seen", async (t) => {
  const index = await service(t, { "a-1": ["x", "y"], "a-2": ["y"], b: ["y", "z"], empty: [] });
  const documentIds = ["z", "nobody", "y", "", "x".repeat(600), "y", "x"];
  const { lines } = await located(index, { documentIds });
  assert.deepEqual(lines, ["a-1: 2,5,6", "a-2: 2,5", "b: 0,2,5"]);
  const named = await located(index, { documentIds, libraryIds: ["b", "gone", "name-a-1", "b"] });
  assert.deepEqual(named.lines, ["b: 0,2,5"]);
  const seen = await located(index, { documentIds, visibleLibraries: ["a-*"] });
  assert.deepEqual(seen.lines, ["a-1: 2,5,6", "a-2: 2,5"]);
  const both = await located(index, { documentIds, libraryIds: ["b"], visibleLibraries: ["a-*"] });
  assert.deepEqual(both.lines, []);
  assert.deepEqual((await located(index, { documentIds, visibleLibraries: [""] })).lines, []);
  const many = [...Array.from({ length: 2_500 }, (_, n) => `no-${n}`), ...documentIds];
  const firsts = await located(index, { documentIds: many, firstOnly: true });
  assert.deepEqual(firsts.lines, ["a-1: 2502", "a-2: 2502", "b: 2500"]);
  const { client } = index;
  const first = { libraryIds: [], visibleLibraries: ["e*"], documentIds, pageToken: "", firstOnly: false };
  assert.equal((await unary(client, client.locateDocuments, first, CALL)).firstLibraryId, "empty");
  for (const wrong of [
    { documentIds: Array<string>(1_001).fill("x") },
    { documentIds: Array<string>(10_001).fill("x"), firstOnly: true },
    { libraryIds: Array.from({ length: 101 }, (_, n) => `l-${n}`) },
  ])
    await assert.rejects(located(index, wrong), { code: "INVALID_ARGUMENT" });
  const token = { ...first, pageToken: "nonsense" };
  await assert.rejects(unary(client, client.locateDocuments, token, CALL), { code: "INVALID_ARGUMENT" });
});

test("many libraries come in several pages, each library once; those that were open stay so", async (t) => {
  const title = "t".repeat(4_000);
  const ids = Array.from({ length: 100 }, (_, n) => `doc-${n}`);
  const index = await service(t, {});
  for (let n = 0; n < 8; n++) {
    const library = await TestLibrary.create(index.client, libraryRequest(`l-${n}`, 3));
    const more = Array.from({ length: n }, (_, at) => `more-${at}`);
    const documents = [...ids, ...more];
    await library.upsert(documents.map((id, at) => documentUpsert(id, [seededVector(at, 3)], { title })));
  }
  // Which ones are open shows in the sum of their documents.
  const before = await eventually(() =>
    index.libraries.totals.open === 4 ? index.libraries.totals : undefined,
  );
  const { client } = index;
  const found: string[] = [];
  let pages = 0;
  for (let pageToken = ""; ; pages++) {
    const request = { libraryIds: [], visibleLibraries: [], documentIds: ids, pageToken, firstOnly: false };
    const page = await unary(client, client.locateDocuments, request, CALL);
    found.push(...page.libraries.map(({ libraryId, places }) => `${libraryId} ${places.length}`));
    pageToken = page.nextPageToken;
    if (pageToken === "") break;
  }
  const { open, documents } = index.libraries.totals;
  assert.deepEqual([open, documents], [before.open, before.documents]);
  assert.ok(pages > 0, "more than one page");
  assert.deepEqual(
    found.sort(),
    Array.from({ length: 8 }, (_, n) => `l-${n} 100`),
  );
});
