import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { credentials } from "@grpc/grpc-js";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import { embeddingId } from "../../../platform/embedding/embedding-id.ts";
import type { CreateProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import { BuildServiceClient } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import { RegenerateEmbeddingsSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { RegenerateEmbeddings } from "../../../services/worker/handlers/regenerate-embeddings.ts";
import { eventually } from "../../support/eventually.ts";
import {
  documentUpsert,
  libraryRequest,
  packed,
  startIndexService,
  type TestIndexService,
  TestLibrary,
} from "../../support/index-service.ts";
import type { Cleanup } from "../../support/temp.ts";
import { type Harness, reversed, startHarness } from "./harness.ts";

const OLD = { provider: "hashing", model: "ngram-v1", dimensions: 32 };
const NEW = { provider: "hashing", model: "ngram-v1", dimensions: 48 };
const BATCH_CHUNKS = 16;

/** Takes its time for every call, as one behind a network does. */
const slowly =
  (ms: number): CreateProvider =>
  (config) => {
    const provider = createProvider(config);
    return {
      dimensions: provider.dimensions,
      paid: true,
      embed: (texts, signal) => provider.embed(texts, signal),
      embedEach: async (texts, signal) => {
        await pause(ms, undefined, { signal });
        return provider.embedEach(texts, signal);
      },
    };
  };

interface RealHarness extends Harness {
  readonly index: TestIndexService;
  readonly library: TestLibrary;
}

/** A worker against a real index with a library of some documents. */
async function startReal(test: Cleanup, embedMs: number, documents: number): Promise<RealHarness> {
  const t = reversed(test);
  const index = await startIndexService();
  t.after(() => index.stop());
  const library = await TestLibrary.create(index.client, libraryRequest("books", 32, { embedding: OLD }));
  const harness = await startHarness(t, {
    indexAddress: index.address,
    cancelGraceMs: 5_000,
    register: (handlers, _nats, client) => {
      const options = { channelOverride: client.getChannel() };
      const builds = new BuildServiceClient(index.address, credentials.createInsecure(), options);
      const createSlow = slowly(embedMs);
      handlers.add(
        new RegenerateEmbeddings({ builds, createProvider: createSlow, batchChunks: BATCH_CHUNKS }),
      );
    },
  });
  const writer = new Writer(index, library);
  for (let n = 0; n < documents; n++) await writer.write(`doc-${n}`);
  return { ...harness, index, library };
}

/** Writes documents with the embedding that the library has now, as an import does. */
class Writer {
  readonly #index: TestIndexService;
  readonly #library: TestLibrary;
  #embedding = OLD;
  longestMs = 0;

  constructor(index: TestIndexService, library: TestLibrary) {
    this.#index = index;
    this.#library = library;
  }

  async write(documentId: string): Promise<void> {
    const began = performance.now();
    try {
      await this.#upsert(documentId);
    } catch (error) {
      if (!(error instanceof ArrwError && error.reason === "EMBEDDING_CHANGED")) throw error;
      const { client } = this.#index;
      const { library } = await unary(
        client,
        client.getLibrary,
        { visibleLibraries: [], libraryId: this.#library.id },
        { timeoutMs: 5_000 },
      );
      assert.deepEqual(library?.embedding?.dimensions, NEW.dimensions);
      this.#embedding = NEW;
      await this.#upsert(documentId);
    }
    this.longestMs = Math.max(this.longestMs, performance.now() - began);
  }

  async #upsert(documentId: string): Promise<void> {
    const texts = [`first text of ${documentId}`, `and the second of ${documentId}`];
    const rows = await createProvider(this.#embedding).embed(texts, new AbortController().signal);
    const { dimensions } = this.#embedding;
    const vectors = texts.map((_, n) => rows.slice(n * dimensions, (n + 1) * dimensions));
    await this.#library.upsertAs(embeddingId(this.#embedding), [
      documentUpsert(documentId, vectors, { texts }),
    ]);
  }
}

async function assign(
  { scheduler, library }: RealHarness,
  fields: Partial<LeaseGrant> = {},
): Promise<LeaseGrant> {
  const value = RegenerateEmbeddingsSpec.fromPartial({ embedding: NEW });
  const grant = scheduler.grant({
    type: "regenerate_embeddings",
    libraryId: library.id,
    spec: { spec: { $case: "regenerateEmbeddings", value } },
    createdAt: new Date(),
    run: 1,
    ...fields,
  });
  await scheduler.assign([grant]);
  return grant;
}

/** Every document has its texts' vectors in the new embedding, and only those. */
async function assertEmbedded({ index, library }: RealHarness, ids: readonly string[]): Promise<void> {
  const { client } = index;
  const provider = createProvider(NEW);
  for (const documentId of ids) {
    const request = { libraryId: library.id, documentId, includeVectors: true };
    const { document } = await unary(client, client.getDocument, request, { timeoutMs: 5_000 });
    const rows = await provider.embed(document?.texts ?? [], new AbortController().signal);
    const got = Buffer.concat(document?.vectors.map(({ packed: bytes }) => bytes) ?? []);
    assert.deepEqual(got, packed(rows), documentId);
  }
}

test("a slow provider keeps up with writes in the end: none is lost, none fails, none waits long", async (t) => {
  const harness = await startReal(t, 100, 60);
  const { scheduler, index, library } = harness;
  const writer = new Writer(index, library);
  const ids = Array.from({ length: 60 }, (_, n) => `doc-${n}`);
  const grant = await assign(harness);
  let ended = false;
  const outcome = scheduler.outcomeOf(grant.lease, 60_000).finally(() => {
    ended = true;
  });
  for (let n = 0; !ended; n++) {
    await writer.write(`late-${n}`);
    ids.push(`late-${n}`);
    // Half of them replace a document that is there.
    await writer.write(`doc-${n % 60}`);
    // At most 100 chunks a second: the provider takes 160. What is written faster than that is never caught up with.
    await pause(40);
  }
  const { $case, value } = await outcome;
  assert.ok($case === "completed");
  assert.ok(value.result?.result?.$case === "regenerateEmbeddings");
  const { chunksReembedded, embedding } = value.result.result.value;
  t.diagnostic(
    `${ids.length - 60} documents meanwhile, ${chunksReembedded} chunks, longest write ${Math.round(writer.longestMs)} ms`,
  );
  assert.equal(embedding?.dimensions, NEW.dimensions);
  assert.ok(chunksReembedded >= 120n);
  assert.ok(writer.longestMs < 4_000, `${writer.longestMs} ms`);
  await writer.write("after");
  await assertEmbedded(harness, [...ids, "after"]);
});

test("a cancel in the midst leaves the library as it was, and the next job starts afresh", async (t) => {
  const harness = await startReal(t, 50, 100);
  const { scheduler, index, library } = harness;
  const cancelled = await assign(harness);
  await eventually(() =>
    scheduler.progress.some(({ progress }) => /^embedding [1-9]/.test(progress?.message ?? "")),
  );
  const askedAtMs = performance.now();
  await scheduler.cancel([cancelled.lease]);
  const outcome = await scheduler.outcomeOf(cancelled.lease);
  const tookMs = performance.now() - askedAtMs;
  assert.equal(outcome.$case, "cancelled");
  assert.ok(tookMs < 1_000, `${tookMs} ms`);
  const { client } = index;
  const get = () =>
    unary(client, client.getLibrary, { visibleLibraries: [], libraryId: library.id }, { timeoutMs: 5_000 });
  const { library: now } = await get();
  assert.deepEqual([now?.generation, now?.buildingGeneration, now?.embedding?.dimensions], [1n, 0n, 32]);
  const done = await scheduler.outcomeOf((await assign(harness)).lease, 30_000);
  assert.ok(done.$case === "completed" && done.value.result?.result?.$case === "regenerateEmbeddings");
  assert.equal(done.value.result.result.value.chunksReembedded, 200n);
  await assertEmbedded(harness, ["doc-0", "doc-99"]);
});

test("a second run of the job builds again; a repeated lease of the first gets its result", async (t) => {
  const harness = await startReal(t, 1, 20);
  const { scheduler } = harness;
  const first = await assign(harness);
  const generationOf = async (grant: LeaseGrant): Promise<bigint> => {
    const outcome = await scheduler.outcomeOf(grant.lease, 30_000);
    assert.ok(
      outcome.$case === "completed" && outcome.value.result?.result?.$case === "regenerateEmbeddings",
    );
    return outcome.value.result.result.value.generation;
  };
  const generation = await generationOf(first);
  // As when the worker was lost before its outcome was stored.
  assert.equal(await generationOf(await assign(harness, { jobId: first.jobId })), generation);
  assert.ok((await generationOf(await assign(harness, { jobId: first.jobId, run: 2 }))) > generation);
});
