import { completeEmbeddingConfig } from "../../../platform/embedding/create-provider.ts";
import { embeddingId } from "../../../platform/embedding/embedding-id.ts";
import type { CreateProvider } from "../../../platform/embedding/provider.ts";
import { ArrwError } from "../../../platform/errors.ts";
import {
  type Build,
  BuildKind,
  BuildPhase,
  type BuildServiceClient,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { EmbeddingConfig } from "../../../proto/gen/arrwdb/v1/document.ts";
import type { RegenerateEmbeddingsResult } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import {
  countsAsOf,
  decodeCounts,
  type EmbeddingCounts,
  encodeCounts,
  regenerateResult,
} from "../domain/build-results.ts";
import { buildProgress } from "../domain/build-text.ts";
import { Cancelled, type Handler, type JobContext, type LeasedJob } from "../handler.ts";
import { BuildEmbedder } from "./build-embedder.ts";
import { BuildSession, hasEnded, libraryOf } from "./build-session.ts";

export interface RegenerateEmbeddingsOptions {
  readonly builds: BuildServiceClient;
  readonly createProvider: CreateProvider;
  /** Chunks embedded and written at a time. */
  readonly batchChunks: number;
}

type RegenerateJob = LeasedJob<"regenerateEmbeddings">;

/** With at most so many chunks missing the index holds upserts, so that the last ones can be brought. */
const HOLD_CHUNKS = 256n;
/** They are held for so long at most. */
const HOLD_MS = 2_000;
const CHECKPOINT_MS = 1_000;
const FIRST_SWAP_PAUSE_MS = 100;
const MAX_SWAP_PAUSE_MS = 10_000;
/** Writes that come faster than they can be embedded are outlasted, or not: then the job's retries go on. */
const SWAP_FOR_MS = 600_000;

/** Embeds all chunks anew into a generation beside the live one, keeps up with what is written, and swaps it in. */
export class RegenerateEmbeddings implements Handler<"regenerateEmbeddings"> {
  readonly type = "regenerate_embeddings";
  readonly kind = "regenerateEmbeddings";
  readonly #options: RegenerateEmbeddingsOptions;

  constructor(options: RegenerateEmbeddingsOptions) {
    this.#options = options;
  }

  async run(job: RegenerateJob, context: JobContext): Promise<RegenerateEmbeddingsResult> {
    return new Regeneration(this.#options, job, context).run();
  }
}

/** One attempt. */
class Regeneration {
  readonly #job: RegenerateJob;
  readonly #context: JobContext;
  readonly #embedding: EmbeddingConfig;
  readonly #session: BuildSession;
  readonly #embedder: BuildEmbedder;
  #counts: EmbeddingCounts;
  #savedAtMs = performance.now();
  #giveUpAtMs = Number.POSITIVE_INFINITY;
  #swapPauseMs = FIRST_SWAP_PAUSE_MS;

  constructor(options: RegenerateEmbeddingsOptions, job: RegenerateJob, context: JobContext) {
    const { spec } = job;
    this.#job = job;
    this.#context = context;
    this.#counts = decodeCounts(job.checkpoint);
    this.#embedding = targetOf(job);
    // The same embedding once more means vectors that are really made anew.
    const anew = embeddingId(this.#embedding) === libraryOf(job).embeddingId;
    const provider = options.createProvider(this.#embedding, { anew });
    const wanted = {
      kind: BuildKind.BUILD_KIND_REGENERATE,
      embedding: spec.embedding ? this.#embedding : undefined,
      minRecall: spec.minRecall,
    };
    this.#session = new BuildSession(options.builds, job, wanted, context);
    this.#embedder = new BuildEmbedder({
      session: this.#session,
      provider,
      pageChunks: options.batchChunks,
      signal: context.signal,
      onWritten: (build, page) => this.#written(build, page),
      wait: (ms) => this.#session.wait(ms),
      onWaiting: (why, pauseMs) => this.#providerPauses(why, pauseMs),
    });
  }

  async run(): Promise<RegenerateEmbeddingsResult> {
    const { provider, model, dimensions } = this.#embedding;
    this.#context.log.info(`embedding anew with ${provider} ${model}, ${dimensions} dimensions`);
    try {
      const build = await this.#session.run(
        (current) => this.#step(current),
        (begun) => {
          this.#counts = countsAsOf(this.#counts, begun);
        },
      );
      return this.#result(build);
    } catch (error) {
      const { signal } = this.#context;
      throw signal.aborted && error === signal.reason ? new Cancelled(this.#partialResult()) : error;
    }
  }

  async #step(build: Build): Promise<Build> {
    const missing = build.chunksTotal - build.chunksEmbedded;
    if (build.phase === BuildPhase.BUILD_PHASE_READY && missing <= HOLD_CHUNKS) return this.#swap(missing);
    if (build.phase === BuildPhase.BUILD_PHASE_EMBEDDING || missing > 0n) {
      const brought = await this.#embedder.bringAll();
      if (brought && brought.chunksTotal - brought.chunksEmbedded > HOLD_CHUNKS) return brought;
    }
    // What comes in while the index is built and measured is brought by and by.
    await this.#session.pause();
    return this.#session.get();
  }

  /** Asks for the swap, brings what it lacks while upserts are held, and asks again. */
  async #swap(missing: bigint): Promise<Build> {
    // The less is left to bring, the shorter upserts wait.
    if (missing > 0n) await this.#embedder.bringAll();
    const endMs = performance.now() + HOLD_MS;
    for (;;) {
      const { build, held } = await this.#session.swap();
      if (hasEnded(build)) return build;
      this.#assertCatchingUp(build);
      if (!held || performance.now() > endMs) break;
      await this.#embedder.bringAll();
    }
    // The hold ran out, or the index has much to add: writers shall get on in between.
    await this.#session.wait(this.#swapPauseMs);
    this.#swapPauseMs = Math.min(MAX_SWAP_PAUSE_MS, this.#swapPauseMs * 2);
    return this.#session.get();
  }

  /** @throws ArrwError retryable, when it was ready for long and isn't swapped */
  #assertCatchingUp({ phase, chunksTotal }: Build): void {
    if (phase !== BuildPhase.BUILD_PHASE_READY) return;
    this.#giveUpAtMs = Math.min(this.#giveUpAtMs, performance.now() + SWAP_FOR_MS);
    if (performance.now() < this.#giveUpAtMs) return;
    const text = `documents are written faster than they can be embedded: the last of ${chunksTotal} chunks are never reached; try again in a quieter hour`;
    throw new ArrwError("ABORTED", text, { reason: "WRITES_OUTRUN_EMBEDDING" });
  }

  async #written(build: Build, { reembedded, reused }: EmbeddingCounts): Promise<void> {
    this.#counts = {
      reembedded: this.#counts.reembedded + reembedded,
      reused: this.#counts.reused + reused,
    };
    this.#assertCatchingUp(build);
    this.#context.progress(buildProgress(build));
    if (performance.now() - this.#savedAtMs < CHECKPOINT_MS) return;
    this.#savedAtMs = performance.now();
    await this.#context.checkpoint(encodeCounts(this.#counts));
  }

  #providerPauses(why: string, pauseMs: number): void {
    const message = `${why}: going on in ${Math.ceil(pauseMs / 1_000)} s`;
    this.#context.log.warn(`${message}; the build is kept meanwhile`);
    const { reembedded, reused } = this.#counts;
    this.#context.progress({ current: reembedded + reused, message });
    // The writers don't outrun an embedding that was told to wait.
    this.#giveUpAtMs += pauseMs;
  }

  #result(build: Build): RegenerateEmbeddingsResult {
    const { embedding, ...rest } = regenerateResult(build, this.#counts);
    return { ...rest, embedding: embedding ?? this.#embedding };
  }

  #partialResult(): RegenerateEmbeddingsResult {
    const { generation, embedding } = libraryOf(this.#job).library;
    return {
      chunksReembedded: BigInt(this.#counts.reembedded),
      embeddingsReused: BigInt(this.#counts.reused),
      recallAt10: 0,
      embedding,
      buildSeconds: 0,
      generation,
    };
  }
}

/** The embedding that the job asks for. @throws ArrwError not retryable when it embeds no texts */
function targetOf(job: RegenerateJob): EmbeddingConfig {
  const { library } = libraryOf(job);
  const asked = job.spec.embedding;
  const embedding = asked ? completeEmbeddingConfig(asked) : library.embedding;
  if (!embedding) throw new ArrwError("INTERNAL", "the index described a library without embedding");
  if (embedding.provider === "none") {
    const text = "nobody embeds texts with provider none: import the documents again with their new vectors";
    throw new ArrwError("FAILED_PRECONDITION", text, { reason: "VECTORS_NEEDED" });
  }
  return embedding;
}
