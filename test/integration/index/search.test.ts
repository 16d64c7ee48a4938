import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Condition, Filter } from "../../../proto/gen/arrwdb/v1/document.ts";
import { distanceOf, METRICS } from "../../../services/index/domain/score.ts";
import { SCALARS } from "../../../services/index/usearch-index.ts";
import {
  documentUpsert,
  libraryRequest,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";

async function service(t: TestContext, cacheBytes?: number): Promise<TestIndexService> {
  const started = await startIndexService(cacheBytes === undefined ? {} : { cacheBytes });
  t.after(() => started.stop());
  return started;
}

/** One chunk a document: document i has vector i. */
async function fill(library: TestLibrary, from: number, to: number, dimensions: number): Promise<void> {
  for (let i = from; i < to; i += 500) {
    const documents = Array.from({ length: Math.min(500, to - i) }, (_, j) =>
      documentUpsert(`d${i + j}`, [seededVector(i + j, dimensions)], {
        metadata: { n: i + j, mod: (i + j) % 100 },
        tags: [(i + j) % 2 === 0 ? "even" : "odd"],
      }),
    );
    await library.upsert(documents);
  }
}

/** Document ids of the k nearest by brute force here. */
function nearest(
  query: Float32Array,
  k: number,
  among: readonly number[],
  metric: (typeof METRICS)[number],
): string[] {
  return among
    .map((i) => ({ id: `d${i}`, distance: distanceOf(metric, query, seededVector(i, query.length)) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, k)
    .map(({ id }) => id);
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
const where = (field: string, test: NonNullable<Condition["test"]>): Filter => ({ all: [{ field, test }] });

test("exact search gives the true neighbours with their true scores, for every metric", async (t) => {
  const { client } = await service(t);
  for (const metric of METRICS) {
    const library = await TestLibrary.create(client, libraryRequest(metric, 32, { metric }));
    await fill(library, 0, 1_500, 32);
    for (const seed of [50_001, 50_002, 50_003]) {
      const query = seededVector(seed, 32);
      const { hits } = await library.search(query, 20, { exact: true });
      assert.deepEqual(
        hits.map(({ documentId }) => documentId),
        nearest(query, 20, upTo(1_500), metric),
      );
      for (const hit of hits) {
        const distance = distanceOf(metric, query, seededVector(Number(hit.documentId.slice(1)), 32));
        assert.equal(hit.distance, distance);
        assert.equal(hit.score, metric === "l2sq" ? -distance : 1 - distance);
        assert.equal(hit.text, `text 0 of ${hit.documentId}`);
        assert.equal(hit.title, `title of ${hit.documentId}`);
      }
    }
  }
});

test("a flat library is exact, and a cache too small for it changes nothing", async (t) => {
  const { client } = await service(t, 100_000);
  const library = await TestLibrary.create(client, libraryRequest("flat", 32, { indexType: "flat" }));
  await fill(library, 0, 6_000, 32);
  await library.delete(
    upTo(6_000)
      .filter((i) => i % 3 === 0)
      .map((i) => `d${i}`),
  );
  const left = upTo(6_000).filter((i) => i % 3 !== 0);
  for (const seed of [50_001, 50_002]) {
    const query = seededVector(seed, 32);
    const { hits } = await library.search(query, 10);
    assert.deepEqual(
      hits.map(({ documentId }) => documentId),
      nearest(query, 10, left, "cos"),
    );
  }
});

test("each vector is found by itself through the index, for every scalar", async (t) => {
  const { client } = await service(t);
  for (const scalar of SCALARS) {
    const library = await TestLibrary.create(client, libraryRequest(scalar, 48, { scalar }));
    await fill(library, 0, 1_000, 48);
    let found = 0;
    for (const i of upTo(200)) {
      const { hits } = await library.search(seededVector(i, 48), 1);
      if (hits[0]?.documentId === `d${i}`) found += 1;
    }
    assert.ok(found >= 198, `${scalar}: ${found} of 200`);
  }
});

test("a search sees every write that was acknowledged before it", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 256));
  for (let i = 0; i < 3_000; i += 100) {
    await fill(library, i, i + 100, 256);
    const { hits } = await library.search(seededVector(i + 99, 256), 1);
    assert.equal(hits[0]?.documentId, `d${i + 99}`);
    await library.delete([`d${i}`]);
    const after = await library.search(seededVector(i, 256), 5);
    assert.ok(after.hits.every(({ documentId }) => documentId !== `d${i}`));
  }
});

test("replaced and deleted chunks are never found, whatever runs beside", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 32));
  const version = (i: number, v: number) =>
    documentUpsert(`d${i}`, [seededVector(i * 100 + v, 32)], { title: `v${v}` });
  await library.upsert(upTo(400).map((i) => version(i, 0)));
  for (let v = 1; v <= 4; v++) {
    await Promise.all([
      ...upTo(8).map((part) => library.upsert(upTo(50).map((i) => version(part * 50 + i, v)))),
      ...upTo(20).map((i) => library.search(seededVector(i * 100 + v, 32), 10)),
    ]);
    for (const i of upTo(50)) {
      const old = await library.search(seededVector(i * 100 + v - 1, 32), 10);
      assert.equal(old.hits.length, 10);
      for (const hit of old.hits) assert.equal(hit.title, `v${v}`);
      assert.ok((old.hits[0]?.score ?? 1) < 0.999);
    }
  }
});

test("filters are exact and keep k full, from one document to all of them", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 24));
  await fill(library, 0, 8_000, 24);
  const cases: [Filter, (i: number) => boolean][] = [
    [where("document_id", { $case: "equals", value: "d77" }), (i) => i === 77],
    [where("document_id", { $case: "in", value: ["d1", "d2", "nope", ""] }), (i) => i === 1 || i === 2],
    [where("metadata.mod", { $case: "equals", value: 7 }), (i) => i % 100 === 7],
    [where("metadata.n", { $case: "range", value: { gte: 100, lt: 150 } }), (i) => i >= 100 && i < 150],
    [where("metadata.n", { $case: "range", value: { gte: 3_500 } }), (i) => i >= 3_500],
    [where("tags", { $case: "equals", value: "odd" }), (i) => i % 2 === 1],
    [where("metadata.missing", { $case: "exists", value: false }), () => true],
  ];
  for (const [filter, holds] of cases) {
    const matching = upTo(8_000).filter(holds);
    for (const k of [1, 10, 60]) {
      const query = seededVector(90_000 + k, 24);
      const expected = nearest(query, k, matching, "cos");
      const exact = await library.search(query, k, { filter, exact: true });
      assert.deepEqual(
        exact.hits.map(({ documentId }) => documentId),
        expected,
      );
      const { hits } = await library.search(query, k, { filter });
      assert.equal(hits.length, expected.length, JSON.stringify(filter));
      for (const hit of hits) assert.ok(holds(Number(hit.documentId.slice(1))));
    }
  }
  const none = await library.search(seededVector(1, 24), 5, {
    filter: where("title", { $case: "equals", value: "?" }),
  });
  assert.deepEqual(none.hits, []);
});

test("a remembered filter takes in later writes", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 16));
  await fill(library, 0, 500, 16);
  const filter = where("metadata.mod", { $case: "equals", value: 3 });
  assert.equal((await library.search(seededVector(1, 16), 100, { filter })).hits.length, 5);
  await fill(library, 500, 600, 16);
  assert.equal((await library.search(seededVector(1, 16), 100, { filter })).hits.length, 6);
  await library.delete(["d3"]);
  assert.equal((await library.search(seededVector(1, 16), 100, { filter })).hits.length, 5);
});

test("k above the number of chunks gives them all; an empty library none", async (t) => {
  const { client } = await service(t);
  const library = await TestLibrary.create(client, libraryRequest("a", 16));
  assert.deepEqual((await library.search(seededVector(1, 16), 10_000)).hits, []);
  await fill(library, 0, 300, 16);
  for (const exact of [true, false])
    assert.equal((await library.search(seededVector(1, 16), 10_000, { exact })).hits.length, 300);
});

test("zero, tiny and huge vectors have finite scores and are found", async (t) => {
  const { client } = await service(t);
  for (const scalar of ["bf16", "f16"]) {
    const library = await TestLibrary.create(client, libraryRequest(scalar, 8, { scalar }));
    const scaled = (seed: number, by: number) => seededVector(seed, 8).map((x) => x * by);
    await library.upsert([
      documentUpsert("zero", [new Float32Array(8)]),
      documentUpsert("tiny", [scaled(1, 1e-30)]),
      documentUpsert("huge", [scaled(2, 1e30)]),
      documentUpsert("plain", [seededVector(3, 8)]),
    ]);
    for (const exact of [true, false]) {
      for (const [query, first] of [
        [scaled(1, 1e30), "tiny"],
        [scaled(2, 1e-30), "huge"],
        [seededVector(3, 8), "plain"],
      ] as const) {
        const { hits } = await library.search(query, 4, { exact });
        assert.equal(hits[0]?.documentId, first);
        assert.equal(hits.length, 4);
        for (const hit of hits) assert.ok(Number.isFinite(hit.score) && hit.score <= 1);
        assert.equal(hits.find(({ documentId }) => documentId === "zero")?.score, 0);
      }
      const { hits } = await library.search(new Float32Array(8), 4, { exact });
      assert.deepEqual(
        hits.map(({ score }) => score),
        [0, 0, 0, 0],
      );
    }
  }
});
