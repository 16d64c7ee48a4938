import assert from "node:assert/strict";
import { test } from "node:test";
import { textHash } from "../../../platform/embedding/text-hash.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { connect, unary } from "../../../platform/grpc/client.ts";
import { EmbeddingServiceClient } from "../../../proto/gen/arrwdb/index/v1/embeddings.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  seededVector,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import type { Cleanup } from "../../support/temp.ts";

/** Texts whose vectors a library has already. */

const DIMENSIONS = 8;
const CALL = { timeoutMs: 10_000 };

interface Rig {
  readonly service: TestIndexService;
  readonly library: TestLibrary;
  /** The vectors that are known, by text. */
  lookUp(texts: readonly string[], embeddingId?: string): Promise<Map<string, Buffer>>;
}

async function start(t: Cleanup, provider: string): Promise<Rig> {
  const service = await startIndexService();
  const embeddings = connect(EmbeddingServiceClient, service.address);
  t.after(async () => {
    embeddings.close();
    await service.stop();
  });
  const request = libraryRequest("books", DIMENSIONS, {
    embedding: { provider, model: "small", dimensions: DIMENSIONS },
  });
  const library = await TestLibrary.create(service.client, request);
  const lookUp: Rig["lookUp"] = async (texts, embeddingId = library.embeddingId) => {
    const hashes = Buffer.concat(texts.map(textHash));
    const query = { libraryId: "books", embeddingId, hashes };
    const { found, vectors } = await unary(embeddings, embeddings.lookupEmbeddings, query, CALL);
    assert.equal(vectors.length, found.length * DIMENSIONS * 4);
    const known = found.map((place, n): [string, Buffer] => [
      texts[place] ?? "",
      vectors.subarray(n * DIMENSIONS * 4, (n + 1) * DIMENSIONS * 4),
    ]);
    return new Map(known);
  };
  return { service, library, lookUp };
}

function upsertOf(id: string, texts: string[], seed: number) {
  const vectors = texts.map((_, n) => seededVector(seed + n, DIMENSIONS));
  return documentUpsert(id, vectors, { texts });
}

test("vectors are known by their text as long as a chunk has it", async (t) => {
  const { library, lookUp } = await start(t, "openai");
  await library.upsert([upsertOf("a", ["one", "two"], 1), upsertOf("b", ["three"], 5)]);
  const known = await lookUp(["none", "two", "three", "one"]);
  assert.deepEqual([...known.keys()], ["two", "three", "one"]);
  assert.deepEqual(known.get("two"), packed(seededVector(2, DIMENSIONS)));
  assert.deepEqual(known.get("three"), packed(seededVector(5, DIMENSIONS)));
  assert.deepEqual(await lookUp(["one"], "another-embedding"), new Map());
  await library.delete(["b"]);
  await library.upsert([upsertOf("a", ["two", "four"], 20)]);
  const later = await lookUp(["one", "two", "three", "four"]);
  assert.deepEqual([...later.keys()], ["two", "four"]);
  assert.deepEqual(later.get("two"), packed(seededVector(20, DIMENSIONS)));
});

test("a text that two documents have stays known when the older one goes", async (t) => {
  const { library, lookUp } = await start(t, "cohere");
  await library.upsert([upsertOf("a", ["same"], 1), upsertOf("b", ["same"], 2)]);
  await library.delete(["a"]);
  assert.deepEqual((await lookUp(["same"])).get("same"), packed(seededVector(2, DIMENSIONS)));
  await library.delete(["b"]);
  assert.equal((await lookUp(["same"])).size, 0);
});

test("libraries whose vectors cost nothing remember none", async (t) => {
  for (const provider of ["hashing", "none"]) {
    const { library, lookUp } = await start(t, provider);
    await library.upsert([upsertOf("a", ["one"], 1)]);
    assert.equal((await lookUp(["one"])).size, 0);
  }
});

test("it is known after a restart, too", async (t) => {
  const first = await start(t, "openai");
  await first.library.upsert([upsertOf("a", ["one"], 1)]);
  await first.service.stop({ keep: true });
  const service = await startIndexService({ folder: first.service.folder });
  const embeddings = connect(EmbeddingServiceClient, service.address);
  t.after(async () => {
    embeddings.close();
    await service.stop();
  });
  const query = { libraryId: "books", embeddingId: first.library.embeddingId, hashes: textHash("one") };
  const { found } = await unary(embeddings, embeddings.lookupEmbeddings, query, CALL);
  assert.deepEqual(found, [0]);
});

test("requests out of bounds and unknown libraries are refused", async (t) => {
  const { service } = await start(t, "openai");
  const embeddings = connect(EmbeddingServiceClient, service.address);
  t.after(() => embeddings.close());
  const cases: [string, Buffer, string][] = [
    ["books", Buffer.alloc(15), "INVALID_ARGUMENT"],
    ["books", Buffer.alloc(16 * 4_097), "INVALID_ARGUMENT"],
    ["nowhere", Buffer.alloc(16), "LIBRARY_NOT_FOUND"],
    ["", Buffer.alloc(0), "LIBRARY_NOT_FOUND"],
  ];
  for (const [libraryId, hashes, reason] of cases) {
    const call = unary(
      embeddings,
      embeddings.lookupEmbeddings,
      { libraryId, embeddingId: "e", hashes },
      CALL,
    );
    await assert.rejects(call, (error) => error instanceof ArrwError && error.reason === reason);
  }
  const most = { libraryId: "books", embeddingId: "e", hashes: Buffer.alloc(16 * 4_096) };
  assert.deepEqual((await unary(embeddings, embeddings.lookupEmbeddings, most, CALL)).found, []);
});
