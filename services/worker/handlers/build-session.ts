import { setTimeout as delay } from "node:timers/promises";
import { ArrwError, unavailable } from "../../../platform/errors.ts";
import { unary } from "../../../platform/grpc/client.ts";
import {
  type Build,
  BuildPhase,
  type BuildServiceClient,
  type ReadBuildChunksResponse,
  type StartBuildRequest,
  type WriteBuildVectorsRequest,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { Fence } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { buildProgress, recallText } from "../domain/build-text.ts";
import { toFailure } from "../failure.ts";
import { type JobContext, type Kind, type LeasedJob, type LeasedLibrary, Snooze } from "../handler.ts";
import { isAway, whileUnavailable } from "../retry.ts";
import { Stopped } from "../stopped.ts";

/** What a build is, without whose it is. */
export type BuildWanted = Pick<StartBuildRequest, "kind"> &
  Partial<Pick<StartBuildRequest, "indexType" | "indexConfig" | "embedding" | "minRecall">>;

/** What a build needs to know of its job. */
export type BuildJob = Pick<LeasedJob<Kind>, "jobId" | "lease" | "createdAt" | "run" | "library">;

/** A swap that was asked for. */
export interface Swap {
  readonly build: Build;
  /** Upserts wait, for a moment: bring the missing vectors and ask again. */
  readonly held: boolean;
}

const CALL_TIMEOUT_MS = 15_000;
/** The index may be restarting. */
const START_FOR_MS = 60_000;
const RESTART_PAUSE_MS = 200;
/** An index that restarts again and again is a matter for the job's retries. */
const MAX_RESTARTS = 100;
const KEEP_ALIVE_MS = 5_000;
const QUICK_POLL_MS = 250;
const QUICK_POLLS = 20;
const SLOW_POLL_MS = 1_000;
const BUILD_RUNNING_PAUSE_MS = 2_000;
/** A swap in flight may end, so that it is known whether it happened. */
const LAST_CALL_MS = 150;
const DROP_TIMEOUT_MS = 2_000;

/**
 * A job's build in the index, from its start to the swap. The index holds all that matters: a lease that ends early
 * leaves the build to the next one, which takes it up, also after an execution timeout; a cancelled or failed job drops it.
 */
export class BuildSession {
  readonly #builds: BuildServiceClient;
  readonly #request: StartBuildRequest;
  readonly #fence: Fence;
  readonly #context: JobContext;
  #calledAtMs = 0;
  #polls = 0;
  #swapping = false;
  #phase: BuildPhase = BuildPhase.BUILD_PHASE_UNSPECIFIED;

  constructor(builds: BuildServiceClient, job: BuildJob, wanted: BuildWanted, context: JobContext) {
    const { library } = libraryOf(job);
    this.#builds = builds;
    this.#context = context;
    this.#fence = { jobId: job.jobId, lease: job.lease };
    this.#request = {
      libraryId: library.libraryId,
      fence: this.#fence,
      indexType: "",
      indexConfig: undefined,
      embedding: undefined,
      minRecall: 0,
      ...wanted,
      submittedAt: job.createdAt,
      run: job.run,
    };
  }

  /**
   * Takes steps until the build has ended; starts it again when the index restarted. @returns it, SWAPPED or NOT_NEEDED
   * @param begin what to know of a build that was started or taken up
   * @throws ArrwError, with the build's own code when it FAILED; Snooze while another job's build is in the way
   */
  async run(step: (build: Build) => Promise<Build>, begin?: (build: Build) => void): Promise<Build> {
    const keepAlive = setInterval(() => this.#keepAlive(), KEEP_ALIVE_MS);
    try {
      return await this.#steps(step, begin);
    } catch (error) {
      const swapped = await this.#gaveUp(error);
      if (swapped) return swapped;
      throw error;
    } finally {
      clearInterval(keepAlive);
    }
  }

  async #steps(step: (build: Build) => Promise<Build>, begin?: (build: Build) => void): Promise<Build> {
    const { log } = this.#context;
    let build = await this.#start();
    begin?.(build);
    for (let restarts = 0; ; ) {
      this.#report(build);
      if (hasEnded(build)) return ended(build);
      try {
        build = await step(build);
      } catch (error) {
        if (this.#context.signal.aborted || !isInterrupted(error)) throw error;
        restarts += 1;
        if (restarts > MAX_RESTARTS) throw unavailable(`the index broke off the build ${restarts} times`);
        log.warn({ reason: error.message }, "the index does not know the build now; starting it again");
        await this.#sleep(RESTART_PAUSE_MS);
        build = await this.#start();
        begin?.(build);
      }
    }
  }

  /** As it is now. @throws ArrwError */
  async get(): Promise<Build> {
    const { libraryId } = this.#request;
    const request = { libraryId, fence: this.#fence };
    return present((await this.#call(this.#builds.getBuild, request)).build);
  }

  /** Waits for the time between two looks at the build. @throws Stopped */
  async pause(): Promise<void> {
    this.#polls += 1;
    await this.#sleep(this.#polls <= QUICK_POLLS ? QUICK_POLL_MS : SLOW_POLL_MS);
  }

  /** @throws Stopped */
  async wait(ms: number): Promise<void> {
    await this.#sleep(ms);
  }

  readChunks(afterKey: bigint, limit: number): Promise<ReadBuildChunksResponse> {
    const { libraryId } = this.#request;
    const request = { libraryId, fence: this.#fence, limit, afterKey };
    return this.#call(this.#builds.readBuildChunks, request);
  }

  async writeVectors(
    vectors: Pick<WriteBuildVectorsRequest, "throughKey" | "keys" | "vectors">,
  ): Promise<Build> {
    const { libraryId } = this.#request;
    const request = { libraryId, fence: this.#fence, ...vectors };
    return present((await this.#call(this.#builds.writeBuildVectors, request)).build);
  }

  /** Not broken off at once by a cancel: whether it happened decides how the job ends. @throws ArrwError */
  async swap(): Promise<Swap> {
    const { signal } = this.#context;
    const call = new AbortController();
    let lastCall: NodeJS.Timeout | undefined;
    const onAbort = (): void => {
      lastCall = setTimeout(() => call.abort(signal.reason), LAST_CALL_MS);
    };
    if (signal.aborted) throw signal.reason;
    signal.addEventListener("abort", onAbort, { once: true });
    this.#swapping = true;
    try {
      const request = { libraryId: this.#request.libraryId, fence: this.#fence };
      const { build, held } = await this.#call(this.#builds.swapBuild, request, call.signal);
      this.#swapping = false;
      return { build: present(build), held };
    } finally {
      clearTimeout(lastCall);
      signal.removeEventListener("abort", onAbort);
    }
  }

  async #start(): Promise<Build> {
    this.#swapping = false;
    const { signal, log } = this.#context;
    const start = () => this.#call(this.#builds.startBuild, this.#request);
    try {
      const { build } = await whileUnavailable(start, { forMs: START_FOR_MS, signal });
      this.#polls = 0;
      return present(build);
    } catch (error) {
      if (!(error instanceof ArrwError && error.reason === "BUILD_RUNNING")) throw error;
      log.info("another job's build is under way; trying again");
      throw new Snooze(BUILD_RUNNING_PAUSE_MS);
    }
  }

  #report(build: Build): void {
    const { log } = this.#context;
    const progress = buildProgress(build);
    this.#context.progress(progress);
    if (build.phase === this.#phase) return;
    this.#phase = build.phase;
    switch (build.phase) {
      case BuildPhase.BUILD_PHASE_SWAPPED:
        log.info({ generation: Number(build.generation) }, `swapped in; recall@10 ${recallText(build)}`);
        return;
      case BuildPhase.BUILD_PHASE_NOT_NEEDED:
        log.info("nothing to optimize: no removed vectors since the last one");
        return;
      case BuildPhase.BUILD_PHASE_FAILED:
        return;
      default:
        log.info({ generation: Number(build.generation) }, progress.message);
    }
  }

  /** @returns the build, if it was swapped in after all */
  async #gaveUp(error: unknown): Promise<Build | undefined> {
    const { signal } = this.#context;
    const why = signal.reason instanceof Stopped ? signal.reason.why : undefined;
    // After a timeout another attempt may go on with it; else it is dropped soon, as nobody calls.
    const drops = signal.aborted
      ? why === "cancel"
      : !(error instanceof Snooze) && toFailure(error).error?.retryable === false;
    if (!drops && !(why === "timeout" && this.#swapping)) return undefined;
    const request = { libraryId: this.#request.libraryId, fence: this.#fence };
    const call = { timeoutMs: DROP_TIMEOUT_MS };
    try {
      if (drops) await unary(this.#builds, this.#builds.dropBuild, request, call);
      if (!this.#swapping) return undefined;
      const { build } = await unary(this.#builds, this.#builds.getBuild, request, call);
      return build?.phase === BuildPhase.BUILD_PHASE_SWAPPED ? build : undefined;
    } catch {
      // Without calls it is dropped soon.
      return undefined;
    }
  }

  #keepAlive(): void {
    if (performance.now() - this.#calledAtMs < KEEP_ALIVE_MS) return;
    // Whoever calls next meets what is wrong.
    this.get().catch(() => undefined);
  }

  async #call<Q, R>(
    method: Parameters<typeof unary<Q, R>>[1],
    request: Q,
    signal = this.#context.signal,
  ): Promise<R> {
    this.#calledAtMs = performance.now();
    return unary(this.#builds, method, request, { timeoutMs: CALL_TIMEOUT_MS, signal });
  }

  async #sleep(ms: number): Promise<void> {
    const { signal } = this.#context;
    await delay(ms, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw signal.reason;
  }
}

/** @throws ArrwError INVALID_ARGUMENT */
export function libraryOf({ library }: Pick<BuildJob, "library">): LeasedLibrary {
  if (!library) throw new ArrwError("INVALID_ARGUMENT", "a build needs a library");
  return library;
}

const ENDS: ReadonlySet<BuildPhase> = new Set<BuildPhase>([
  BuildPhase.BUILD_PHASE_SWAPPED,
  BuildPhase.BUILD_PHASE_NOT_NEEDED,
  BuildPhase.BUILD_PHASE_FAILED,
]);

export function hasEnded({ phase }: Build): boolean {
  return ENDS.has(phase);
}

/** @throws ArrwError not retryable when the build FAILED: the same library would fail the same way */
function ended(build: Build): Build {
  if (build.phase !== BuildPhase.BUILD_PHASE_FAILED) return build;
  const reason = build.errorCode || "BUILD_FAILED";
  throw new ArrwError("FAILED_PRECONDITION", build.errorMessage || "the build failed", { reason });
}

/** The index restarted or dropped the build, or doesn't answer; not so a provider of embeddings. */
function isInterrupted(error: unknown): error is ArrwError {
  if (!(error instanceof ArrwError) || error.reason?.startsWith("EMBEDDING_")) return false;
  return error.reason === "BUILD_NOT_FOUND" || isAway(error);
}

function present(build: Build | undefined): Build {
  if (!build) throw new ArrwError("INTERNAL", "the index answered without the build");
  return build;
}
