import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { ArrwError } from "../../platform/errors.ts";
import { connect, unary } from "../../platform/grpc/client.ts";
import { BuildKind, BuildPhase, BuildServiceClient } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { seededRandom } from "../support/corpus.ts";
import { type IndexProcess, startIndexProcess } from "../support/index-process.ts";
import { libraryRequest } from "../support/index-service.ts";
import { LibraryModel, upsertOf, vectorOf } from "../support/library-model.ts";
import { tempDir } from "../support/temp.ts";

const SEED = Number(process.env.SEED ?? 20_261_124);
const KILLS = 20;
const LIBRARY = "kills";
const CALL = { timeoutMs: 10_000 };
const DOCUMENTS_PER_WRITER = 250;
const READ_CHUNKS = 64;

/** The index process of the moment, and a gate that holds the workload while the library is compared. */
class Target {
  readonly folder: string;
  #process: IndexProcess | undefined;
  #builds: BuildServiceClient | undefined;
  #open: Promise<void> = Promise.resolve();
  #release: () => void = () => undefined;
  #busy = 0;
  stopped = false;

  constructor(folder: string) {
    this.folder = folder;
  }

  get client() {
    if (!this.#process) throw new Error("not started");
    return this.#process.client;
  }

  get builds() {
    if (!this.#builds) throw new Error("not started");
    return this.#builds;
  }

  async start(): Promise<void> {
    this.#process = await startIndexProcess(this.folder, {
      ARRW_LOG_LEVEL: "warn",
      // Small, so that snapshots, trims and resumed builds happen all the time.
      ARRW_INDEX_SNAPSHOT_CHANGES: "400",
    });
    this.#builds = connect(BuildServiceClient, this.#process.address);
  }

  async kill(): Promise<void> {
    this.#builds?.close();
    await this.#process?.kill("SIGKILL");
  }

  /** From here on nothing new begins; resolves when what had begun has ended. */
  async hold(): Promise<void> {
    this.#open = new Promise((resolve) => {
      this.#release = resolve;
    });
    while (this.#busy > 0) await pause(5);
  }

  release(): void {
    this.#release();
  }

  /** One call of the workload. */
  async during<T>(run: () => Promise<T>): Promise<T> {
    await this.#open;
    this.#busy += 1;
    try {
      return await run();
    } finally {
      this.#busy -= 1;
    }
  }
}

test("SIGKILL of the index at 20 random moments of imports, deletes, rebuilds and regenerates loses nothing", async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const random = seededRandom(SEED);
  const target = new Target(await tempDir(t));
  await target.start();
  t.after(() => target.kill());
  const embedding = { provider: "none", model: "a", dimensions: 48 };
  await unary(target.client, target.client.createLibrary, libraryRequest(LIBRARY, 48, { embedding }), CALL);

  const model = new LibraryModel();
  const swaps: string[] = [];
  const workload = [
    writes(target, model, "one", seededRandom(SEED + 1)),
    writes(target, model, "two", seededRandom(SEED + 2)),
    buildsInTurn(target, swaps),
  ];
  // A loop that breaks ends the test at once, not after twenty kills.
  const broken = Promise.all(workload).then(() => undefined);
  for (let kill = 1; kill <= KILLS; kill++) {
    await Promise.race([broken, pause(50 + random() * 1_500)]);
    const held = target.hold();
    await target.kill();
    await target.start();
    await held;
    const { chunks } = await model.compare(target.client, LIBRARY);
    await model.compareSearches(target.client, LIBRARY);
    t.diagnostic(`kill ${kill}: ${chunks} chunks as they should be; swaps so far: ${swaps.length}`);
    target.release();
  }
  target.stopped = true;
  await broken;
  for (const kind of ["rebuild", "optimize", "regenerate"])
    assert.ok(
      swaps.some((swap) => swap.startsWith(kind)),
      `no ${kind} was swapped in: ${swaps.join(" ")}`,
    );
  await model.compare(target.client, LIBRARY);
  await model.compareSearches(target.client, LIBRARY);
  const files = await readdir(join(target.folder, "index", "libraries", "1", "index"), { recursive: true });
  const indexes = files.filter((name) => name.endsWith(".usearch"));
  assert.ok(indexes.length <= 2, `the live index and the one before at most: ${files.join(" ")}`);
});

/** Upserts and deletes documents of its own, one call after the other. */
async function writes(target: Target, model: LibraryModel, name: string, random: () => number) {
  for (let round = 0; !target.stopped; round++) {
    await pause(2);
    const ids = Array.from(
      { length: 1 + Math.floor(random() * 8) },
      () => `${name}-${Math.floor(random() * DOCUMENTS_PER_WRITER)}`,
    );
    const removes = random() < 0.25;
    const texts = (id: string): string[] =>
      Array.from({ length: 1 + Math.floor(random() * 3) }, (_, n) => `${id}, round ${round}, text ${n}`);
    const write = new Map(ids.map((id) => [id, removes ? undefined : texts(id)]));
    await target.during(async () => {
      try {
        if (removes) {
          const request = { libraryId: LIBRARY, fence: undefined, documentIds: [...write.keys()] };
          await unary(target.client, target.client.deleteDocuments, request, CALL);
        } else await upsert(target, write);
        model.acknowledged(write);
      } catch (error) {
        assertAway(error);
        model.cutOff(write);
      }
    });
  }
}

async function upsert(target: Target, write: ReadonlyMap<string, string[] | undefined>): Promise<void> {
  const { client } = target;
  for (;;) {
    const { library, embeddingId } = await unary(
      client,
      client.getLibrary,
      { visibleLibraries: [], libraryId: LIBRARY },
      CALL,
    );
    const { model = "", dimensions = 0 } = library?.embedding ?? {};
    const documents = [...write].map(([id, texts]) => upsertOf(id, texts ?? [], model, dimensions));
    const request = { libraryId: LIBRARY, fence: undefined, embeddingId, documents };
    try {
      await unary(client, client.upsertDocuments, request, CALL);
      return;
    } catch (error) {
      // Swapped in between: embedded anew, as importers do.
      if (!(error instanceof ArrwError && error.reason === "EMBEDDING_CHANGED")) throw error;
    }
  }
}

/** A rebuild, an optimize and a regenerate after the other, each by a job that goes on under a new lease after a kill. */
async function buildsInTurn(target: Target, swaps: string[]): Promise<void> {
  let lease = 0n;
  for (let round = 0; !target.stopped; round++) {
    const kind = (["rebuild", "optimize", "regenerate"] as const)[round % 3] ?? "rebuild";
    const job = { jobId: `job-${round}`, submittedAt: new Date(), kind, round };
    for (let ended = false; !ended && !target.stopped; ) {
      lease += 1n;
      try {
        ended = await buildOnce(target, job, lease);
        if (ended) swaps.push(`${kind}-${round}`);
      } catch (error) {
        assertAway(error);
        await pause(20);
      }
    }
  }
}

interface BuildJob {
  readonly jobId: string;
  readonly submittedAt: Date;
  readonly kind: "rebuild" | "optimize" | "regenerate";
  readonly round: number;
}

const KINDS = {
  rebuild: BuildKind.BUILD_KIND_REBUILD,
  optimize: BuildKind.BUILD_KIND_OPTIMIZE,
  regenerate: BuildKind.BUILD_KIND_REGENERATE,
};

/** @returns true when it has swapped, or was not needed */
async function buildOnce(target: Target, job: BuildJob, lease: bigint): Promise<boolean> {
  const at = { libraryId: LIBRARY, fence: { jobId: job.jobId, lease } };
  await target.during(() => unary(target.client, target.client.beginLease, at, CALL));
  const embeddings = [
    { provider: "none", model: "b", dimensions: 32 },
    { provider: "none", model: "a", dimensions: 48 },
  ];
  const embedding = embeddings[Math.floor(job.round / 3) % 2];
  const request = {
    ...at,
    kind: KINDS[job.kind],
    indexType: job.kind === "rebuild" ? (job.round % 2 ? "flat" : "hnsw") : "",
    indexConfig: undefined,
    embedding: job.kind === "regenerate" ? embedding : undefined,
    minRecall: 0.5,
    run: 1,
    submittedAt: job.submittedAt,
  };
  const calls = () => target.builds;
  let build = (await target.during(() => unary(calls(), calls().startBuild, request, CALL))).build;
  while (!target.stopped) {
    assert.notEqual(build?.phase, BuildPhase.BUILD_PHASE_FAILED, build?.errorMessage);
    if (
      build?.phase === BuildPhase.BUILD_PHASE_SWAPPED ||
      build?.phase === BuildPhase.BUILD_PHASE_NOT_NEEDED
    ) {
      await target.during(() => unary(target.client, target.client.endLease, at, CALL));
      return true;
    }
    // Also behind a build that is being measured: chunks come in all the time.
    if (job.kind === "regenerate") {
      const { model = "", dimensions = 0 } = build?.embedding ?? {};
      await target.during(() => embedNext(target, at, model, dimensions));
    }
    build =
      build?.phase === BuildPhase.BUILD_PHASE_READY
        ? (await target.during(() => unary(calls(), calls().swapBuild, at, CALL))).build
        : (await target.during(() => unary(calls(), calls().getBuild, at, CALL))).build;
    await pause(5);
  }
  return false;
}

async function embedNext(
  target: Target,
  at: { readonly libraryId: string; readonly fence: { readonly jobId: string; readonly lease: bigint } },
  model: string,
  dimensions: number,
): Promise<void> {
  const { builds } = target;
  const page = { ...at, limit: READ_CHUNKS, afterKey: 0n };
  const { chunks, throughKey } = await unary(builds, builds.readBuildChunks, page, CALL);
  if (chunks.length === 0) return;
  const rows = chunks.map(({ text }) => vectorOf(text, model, dimensions));
  const vectors = Buffer.concat(rows.map((row) => Buffer.from(row.buffer, row.byteOffset, row.byteLength)));
  const request = { ...at, throughKey, keys: chunks.map(({ key }) => key), vectors };
  await unary(builds, builds.writeBuildVectors, request, CALL);
}

/** The index was killed, or has forgotten the build of a process that was. */
function assertAway(error: unknown): void {
  // A call that had begun, of several, and goes on at a client that is closed.
  if (error instanceof Error && error.message.includes("has been shut down")) return;
  const known = error instanceof ArrwError;
  if (known && ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"].includes(error.code)) return;
  if (known && error.reason === "BUILD_NOT_FOUND") return;
  throw error;
}
