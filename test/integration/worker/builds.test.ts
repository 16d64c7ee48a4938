import assert from "node:assert/strict";
import { test } from "node:test";
import { credentials } from "@grpc/grpc-js";
import { createProvider } from "../../../platform/embedding/create-provider.ts";
import type { EmbeddingProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import { BuildKind, BuildPhase, BuildServiceClient } from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import {
  IndexOptimizeSpec,
  IndexRebuildSpec,
  type JobSpec,
  RegenerateEmbeddingsSpec,
} from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { LeaseGrant, Outcome } from "../../../proto/gen/arrwdb/worker/v1/worker.ts";
import { IndexOptimize } from "../../../services/worker/handlers/index-optimize.ts";
import { IndexRebuild } from "../../../services/worker/handlers/index-rebuild.ts";
import { RegenerateEmbeddings } from "../../../services/worker/handlers/regenerate-embeddings.ts";
import { eventually } from "../../support/eventually.ts";
import type { Cleanup } from "../../support/temp.ts";
import { buildNotFound, buildRunning, FakeBuilds, indexAway } from "./fake-builds.ts";
import { type Harness, reversed, startHarness } from "./harness.ts";
import { MemoryIndex } from "./memory-index.ts";

interface BuildsHarness extends Harness {
  readonly index: MemoryIndex;
  readonly builds: FakeBuilds;
  /** Every text that a provider was given, in order. */
  readonly embedded: string[];
  /** Thrown by the provider from now on. */
  providerFails: ArrwError | undefined;
}

const PAGE_CHUNKS = 10;

async function startBuilds(test: Cleanup): Promise<BuildsHarness> {
  const t = reversed(test);
  const builds = new FakeBuilds();
  const embedded: string[] = [];
  const state = { providerFails: undefined } as BuildsHarness;
  const index = await MemoryIndex.start(t, [builds.service()]);
  const harness = await startHarness(t, {
    indexAddress: index.address,
    register: (handlers, _nats, client) => {
      const options = { channelOverride: client.getChannel() };
      const stub = new BuildServiceClient(index.address, credentials.createInsecure(), options);
      const counting = (config: Parameters<typeof createProvider>[0]) =>
        counted(createProvider(config), (texts) => {
          if (state.providerFails) throw state.providerFails;
          embedded.push(...texts);
        });
      handlers.add(new IndexRebuild(stub)).add(new IndexOptimize(stub));
      handlers.add(
        new RegenerateEmbeddings({ builds: stub, createProvider: counting, batchChunks: PAGE_CHUNKS }),
      );
    },
  });
  Object.assign(state, harness, { index, builds, embedded });
  return state;
}

function counted(
  provider: EmbeddingProvider,
  onTexts: (texts: readonly string[]) => void,
): EmbeddingProvider {
  return {
    dimensions: provider.dimensions,
    paid: provider.paid,
    embed: (texts, signal) => provider.embed(texts, signal),
    embedEach: async (texts, signal) => {
      onTexts(texts);
      return provider.embedEach(texts, signal);
    },
  };
}

type Spec = NonNullable<JobSpec["spec"]>;

const REBUILD: Spec = {
  $case: "indexRebuild",
  value: IndexRebuildSpec.fromPartial({ indexType: "flat", minRecall: 0.9 }),
};
const OPTIMIZE: Spec = { $case: "indexOptimize", value: IndexOptimizeSpec.fromPartial({}) };
const REGENERATE: Spec = {
  $case: "regenerateEmbeddings",
  value: RegenerateEmbeddingsSpec.fromPartial({ embedding: { provider: "hashing", dimensions: 16 } }),
};
const TYPES = {
  indexRebuild: "index_rebuild",
  indexOptimize: "index_optimize",
  regenerateEmbeddings: "regenerate_embeddings",
} as Record<string, string>;

async function assign(
  { scheduler, index }: BuildsHarness,
  spec: Spec,
  fields: Partial<LeaseGrant> = {},
): Promise<LeaseGrant> {
  const grant = scheduler.grant({
    type: TYPES[spec.$case] ?? "",
    libraryId: index.libraryId,
    spec: { spec },
    createdAt: new Date(1_000),
    run: 1,
    ...fields,
  });
  await scheduler.assign([grant]);
  return grant;
}

function fillChunks({ builds }: BuildsHarness, count: number): void {
  for (let key = 1; key <= count; key++) builds.chunks.set(BigInt(key), `the text number ${key}`);
}

/** The result of a completed outcome, whatever its kind. */
function resultOf(outcome: NonNullable<Outcome["outcome"]>) {
  assert.ok(
    outcome.$case === "completed",
    JSON.stringify(outcome, (_, v) => (typeof v === "bigint" ? String(v) : v)),
  );
  return outcome.value.result?.result;
}

function errorOf(outcome: NonNullable<Outcome["outcome"]>): [string | undefined, boolean | undefined] {
  assert.ok(outcome.$case === "failed", outcome.$case);
  return [outcome.value.error?.code, outcome.value.error?.retryable];
}

test("a rebuild starts a build under its lease, tells its phases, swaps and reports the figures", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 1_000);
  const grant = await assign(harness, REBUILD, { run: 2 });
  const outcome = await scheduler.outcomeOf(grant.lease);
  const result = resultOf(outcome);
  assert.ok(result?.$case === "indexRebuild");
  const { vectorsReindexed, recallAt10, oldRecallAt10, generation, newIndexType, buildSeconds } =
    result.value;
  assert.deepEqual(
    [vectorsReindexed, recallAt10, oldRecallAt10, generation, newIndexType, buildSeconds],
    [1_000n, 0.99, 0.97, 2n, "flat", 1.5],
  );
  const [start] = builds.starts;
  assert.deepEqual(
    [start?.kind, start?.indexType, start?.minRecall, start?.fence?.lease, start?.submittedAt, start?.run],
    [BuildKind.BUILD_KIND_REBUILD, "flat", 0.9, grant.lease, new Date(1_000), 2],
  );
  assert.equal(builds.starts.length, 1);
  const messages = scheduler.progress.map(({ progress }) => progress?.message);
  assert.ok(messages.includes("building 500 of 1,000 vectors"), String(messages));
  assert.ok(outcome.$case === "completed");
  assert.equal(outcome.value.progress?.message, "generation 2 answers searches");
  assert.equal(outcome.value.progress?.percentage, 100);
  assert.deepEqual(harness.index.events, ["begin", "end"]);
  assert.deepEqual(builds.drops, []);
});

test("an optimize reports what it freed, or that nothing was to be done", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 10);
  const useful = resultOf(await scheduler.outcomeOf((await assign(harness, OPTIMIZE)).lease));
  assert.ok(useful?.$case === "indexOptimize");
  const { vectorsCompacted, memoryFreedBytes, diskFreedBytes, tombstonesDropped } = useful.value;
  assert.deepEqual(
    [vectorsCompacted, memoryFreedBytes, diskFreedBytes, tombstonesDropped],
    [10n, 2_000n, 1_500n, 7n],
  );

  builds.ends = { phase: BuildPhase.BUILD_PHASE_NOT_NEEDED, generation: 1n };
  const idle = await scheduler.outcomeOf((await assign(harness, OPTIMIZE)).lease);
  const nothing = resultOf(idle);
  assert.ok(nothing?.$case === "indexOptimize" && idle.$case === "completed");
  const { generation, tombstonesDropped: dropped, recallAt10, buildSeconds } = nothing.value;
  assert.deepEqual([generation, dropped, recallAt10, buildSeconds], [1n, 0n, 0, 0]);
  assert.equal(idle.value.progress?.message, "nothing to optimize");
});

test("what the index refuses or gives up fails the job for good, with the index's own code", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 10);
  const errorMessage = "recall@10 is 0.812; at least 0.950 is wanted";
  builds.ends = { phase: BuildPhase.BUILD_PHASE_FAILED, errorCode: "RECALL_TOO_LOW", errorMessage };
  const low = await scheduler.outcomeOf((await assign(harness, REBUILD)).lease);
  assert.deepEqual(errorOf(low), ["RECALL_TOO_LOW", false]);
  assert.ok(low.$case === "failed");
  assert.equal(low.value.error?.message, errorMessage);

  const limit = new ArrwError("FAILED_PRECONDITION", "9 GB; 8 GB", { reason: "INDEX_MEMORY_LIMIT" });
  builds.faults.push({ method: "startBuild", error: limit });
  const full = await scheduler.outcomeOf((await assign(harness, REBUILD)).lease);
  assert.deepEqual(errorOf(full), ["INDEX_MEMORY_LIMIT", false]);
});

test("while another job's build is under way the lease is given back for a moment", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  builds.faults.push({ method: "startBuild", error: buildRunning() });
  const outcome = await scheduler.outcomeOf((await assign(harness, REBUILD)).lease);
  assert.ok(outcome.$case === "released");
  assert.equal(outcome.value.delay?.seconds, 2n);
  assert.deepEqual(builds.drops, []);
});

test("an index that restarts, or forgets the build, is given it again", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 100);
  builds.looks = 4;
  builds.faults.push(
    { method: "getBuild", error: indexAway() },
    { method: "startBuild", error: indexAway() },
  );
  builds.faults.push({ method: "getBuild", error: buildNotFound() });
  builds.faults.push({ method: "swapBuild", error: buildNotFound() });
  const result = resultOf(await scheduler.outcomeOf((await assign(harness, REBUILD)).lease, 20_000));
  assert.ok(result?.$case === "indexRebuild");
  // The first one could not start it twice over; the others took it up where it was.
  assert.equal(builds.starts.length, 5);
  assert.deepEqual(builds.faults, []);
});

test("a cancel drops the build at once; a timeout or a drain leaves it to the next lease, which takes it up", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds, worker } = harness;
  fillChunks(harness, 100);
  builds.looks = 10_000;
  const cancelled = await assign(harness, REBUILD);
  await eventually(() => builds.gets > 0, { what: "a look at the build" });
  const askedAtMs = performance.now();
  await scheduler.cancel([cancelled.lease]);
  assert.equal((await scheduler.outcomeOf(cancelled.lease)).$case, "cancelled");
  const tookMs = performance.now() - askedAtMs;
  assert.ok(tookMs < 250, `${tookMs} ms`);
  assert.deepEqual(builds.drops, [cancelled.lease]);

  const executionTimeout = { seconds: 0n, nanos: 200_000_000 };
  const slow = await assign(harness, REBUILD, { executionTimeout });
  const ended = await scheduler.outcomeOf(slow.lease);
  assert.ok(ended.$case === "failed" && ended.value.timedOut, ended.$case);
  assert.equal(builds.drops.length, 1, "an attempt that follows goes on with it");
  builds.build = undefined;

  const drained = await assign(harness, REBUILD);
  await eventually(() => builds.build?.jobId === drained.jobId, { what: "the build of the second job" });
  await worker.stop();
  assert.equal((await scheduler.outcomeOf(drained.lease)).$case, "released");
  assert.equal(builds.drops.length, 1);
});

test("a swap that happens although a cancel comes completes the job", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 10);
  let swapping = false;
  builds.onCall = async (method) => {
    if (method !== "swapBuild") return;
    swapping = true;
    await new Promise((resolve) => setTimeout(resolve, 100));
  };
  const grant = await assign(harness, REBUILD);
  await eventually(() => swapping, { what: "the swap" });
  await scheduler.cancel([grant.lease]);
  assert.equal(resultOf(await scheduler.outcomeOf(grant.lease))?.$case, "indexRebuild");
  assert.deepEqual(builds.drops, []);
});

test("a swap whose answer is late for a cancel is looked up", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 10);
  let swapping = false;
  builds.onCall = async (method) => {
    if (method !== "swapBuild") return;
    swapping = true;
    await new Promise((resolve) => setTimeout(resolve, 150));
    if (builds.build) builds.build.phase = BuildPhase.BUILD_PHASE_SWAPPED;
    await new Promise((resolve) => setTimeout(resolve, 300));
  };
  const grant = await assign(harness, REBUILD);
  await eventually(() => swapping, { what: "the swap" });
  await scheduler.cancel([grant.lease]);
  assert.equal(resultOf(await scheduler.outcomeOf(grant.lease))?.$case, "indexRebuild");
});

test("a regenerate embeds each text once, reuses what is known, and writes in order", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds, embedded } = harness;
  fillChunks(harness, 95);
  for (let key = 96; key <= 100; key++) builds.chunks.set(BigInt(key), "the text number 1");
  builds.known.set("the text number 2", Buffer.alloc(16 * 4, 1));
  const outcome = await scheduler.outcomeOf((await assign(harness, REGENERATE)).lease);
  const result = resultOf(outcome);
  assert.ok(result?.$case === "regenerateEmbeddings");
  const { chunksReembedded, embeddingsReused, embedding, recallAt10 } = result.value;
  assert.deepEqual([chunksReembedded, embeddingsReused, recallAt10], [94n, 6n, 0.99]);
  assert.deepEqual(
    [embedding?.provider, embedding?.model, embedding?.dimensions],
    ["hashing", "ngram-v1", 16],
  );
  assert.equal(new Set(embedded).size, embedded.length);
  assert.equal(embedded.length, 94);
  const keys = builds.writes.flatMap((write) => write.keys);
  assert.deepEqual(keys, [...builds.chunks.keys()]);
  assert.deepEqual(builds.vectors.get(2n), Buffer.alloc(64, 1));
  assert.deepEqual(builds.vectors.get(100n), builds.vectors.get(1n));
  const messages = scheduler.progress.map(({ progress }) => progress?.message ?? "");
  assert.ok(
    messages.some((message) => /^(embedding|building) [\d,]+ of 100 /.test(message)),
    String(messages),
  );
});

test("a provider that is away for long fails the attempt with its own error, and the build stays", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 20);
  const away = { reason: "EMBEDDING_UNAVAILABLE", retryAfterMs: 3_000_000 };
  harness.providerFails = new ArrwError("UNAVAILABLE", "nobody answers", away);
  const outcome = await scheduler.outcomeOf((await assign(harness, REGENERATE)).lease);
  assert.deepEqual(errorOf(outcome), ["EMBEDDING_UNAVAILABLE", true]);
  assert.equal(builds.starts.length, 1);
  assert.deepEqual(builds.drops, []);
});

test("a regenerate goes on after a restart of the index and pays for no text twice", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds, embedded } = harness;
  fillChunks(harness, 100);
  let writes = 0;
  builds.onCall = (method) => {
    if (method !== "writeBuildVectors") return;
    writes += 1;
    if (writes === 3) builds.restart();
    if (writes === 5) throw indexAway();
  };
  const result = resultOf(await scheduler.outcomeOf((await assign(harness, REGENERATE)).lease, 20_000));
  assert.ok(result?.$case === "regenerateEmbeddings");
  assert.equal(builds.vectors.size, 100);
  assert.equal(embedded.length, 100);
  assert.equal(builds.starts.length, 3);
  const { chunksReembedded, embeddingsReused } = result.value;
  assert.equal(chunksReembedded + embeddingsReused, 100n);
});

test("a regenerate gets to its swap though documents are written with every look", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 30);
  let next = 1_000n;
  // There always is one more to embed, until upserts are held.
  builds.onCall = (method) => {
    if (builds.holds === 0 && method === "readBuildChunks") {
      builds.chunks.set(next, `text ${next}`);
      next += 1n;
    }
  };
  const result = resultOf(await scheduler.outcomeOf((await assign(harness, REGENERATE)).lease));
  assert.equal(result?.$case, "regenerateEmbeddings");
  assert.equal(builds.vectors.size, builds.chunks.size);
});

test("a regenerate brings what is written meanwhile while upserts are held", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds } = harness;
  fillChunks(harness, 30);
  let next = 1_000n;
  let late = 0;
  // Between the look that says READY and the swap a document comes, twice also after the hold has run out.
  builds.onCall = (method) => {
    if (method === "swapBuild" && late < 3) {
      late += 1;
      builds.chunks.set(next++, `a late text ${late}`);
    }
  };
  const result = resultOf(await scheduler.outcomeOf((await assign(harness, REGENERATE)).lease));
  assert.equal(result?.$case, "regenerateEmbeddings");
  assert.equal(builds.vectors.size, 33);
  assert.equal(builds.holds, 3);
});

test("a lease that takes a regenerate up counts on", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, builds, embedded } = harness;
  fillChunks(harness, 40);
  const jobId = "job-resumed";
  for (let key = 1n; key <= 20n; key++) builds.vectors.set(key, Buffer.alloc(64, 2));
  const checkpoint = Buffer.from(JSON.stringify({ reembedded: 9, reused: 8 }));
  const result = resultOf(
    await scheduler.outcomeOf((await assign(harness, REGENERATE, { jobId, checkpoint })).lease),
  );
  assert.ok(result?.$case === "regenerateEmbeddings");
  // Three were embedded after the checkpoint.
  assert.deepEqual([result.value.chunksReembedded, result.value.embeddingsReused], [32n, 8n]);
  assert.equal(embedded.length, 20);
});

test("a library whose clients send vectors is not embedded", async (t) => {
  const harness = await startBuilds(t);
  const { scheduler, index, builds } = harness;
  index.provider = "none";
  const value = RegenerateEmbeddingsSpec.fromPartial({});
  const unset: Spec = { $case: "regenerateEmbeddings", value };
  assert.deepEqual(errorOf(await scheduler.outcomeOf((await assign(harness, unset)).lease)), [
    "VECTORS_NEEDED",
    false,
  ]);
  assert.deepEqual(builds.starts, []);
});
