import { ArrwError, unavailable } from "../../../platform/errors.ts";
import { type ImplementedService, implement } from "../../../platform/grpc/server.ts";
import {
  Build,
  type BuildChunk,
  BuildFigures,
  BuildKind,
  BuildPhase,
  BuildServiceService,
  type StartBuildRequest,
  type WriteBuildVectorsRequest,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";

/** With fewer missing the index is built and measured; the real one has 256 here. */
const PAGE_CHUNKS = 10;

/**
 * The builds of an index as its contract says: one at a time, whose phases a test moves or lets run. Vectors of a
 * rebuild come in steps with every look at it.
 */
export class FakeBuilds {
  readonly starts: StartBuildRequest[] = [];
  readonly writes: WriteBuildVectorsRequest[] = [];
  /** Leases under which a build was dropped. */
  readonly drops: bigint[] = [];
  /** Looks at the build. */
  gets = 0;
  /** Texts by key, in the order of keys. */
  readonly chunks = new Map<bigint, string>();
  /** Vectors that the index knows already, by text. */
  readonly known = new Map<string, Buffer>();
  readonly vectors = new Map<bigint, Buffer>();
  build: Build | undefined;
  /** Looks until a build is READY. */
  looks = 2;
  /** What a build becomes instead of READY. */
  ends: Partial<Build> = {};
  /** Answers of the next calls of a method, each once. */
  readonly faults: { method: string; error: ArrwError }[] = [];
  /** Called when a swap lacks vectors and upserts are held. */
  onHeld: () => void = () => undefined;
  /** Called with every call. */
  onCall: (method: string) => Promise<void> | void = () => undefined;
  holds = 0;

  /** As after a restart: it knows nothing, and finds what is on disk when the build is started again. */
  restart(): void {
    const build = this.build;
    this.build = undefined;
    this.#onDisk = build;
  }

  #onDisk: Build | undefined;

  service(): ImplementedService {
    return implement(BuildServiceService, {
      startBuild: async (request) => {
        this.starts.push(request);
        await this.#called("startBuild");
        return { build: this.#started(request) };
      },
      getBuild: async () => {
        this.gets += 1;
        await this.#called("getBuild");
        return { build: this.#look() };
      },
      readBuildChunks: async ({ limit, afterKey }) => {
        await this.#called("readBuildChunks");
        this.#present();
        const chunks = this.#missing()
          .filter(({ key }) => key > afterKey)
          .slice(0, limit);
        return { chunks, throughKey: chunks.at(-1)?.key ?? 0n };
      },
      writeBuildVectors: async (request) => {
        await this.#called("writeBuildVectors");
        this.#present();
        this.writes.push(request);
        const bytes = request.vectors.length / Math.max(1, request.keys.length);
        for (const [place, key] of request.keys.entries()) {
          this.vectors.set(key, request.vectors.subarray(place * bytes, (place + 1) * bytes));
        }
        return { build: this.#counted() };
      },
      swapBuild: async () => {
        await this.#called("swapBuild");
        return this.#swap();
      },
      dropBuild: async ({ fence }) => {
        await this.#called("dropBuild");
        this.drops.push(fence?.lease ?? 0n);
        if (this.build?.phase !== BuildPhase.BUILD_PHASE_SWAPPED) this.build = undefined;
        return {};
      },
      rollbackGeneration: async () => {
        throw new ArrwError("UNIMPLEMENTED", "jobs don't call this");
      },
    });
  }

  async #called(method: string): Promise<void> {
    await this.onCall(method);
    const at = this.faults.findIndex((fault) => fault.method === method);
    const [fault] = at < 0 ? [] : this.faults.splice(at, 1);
    if (fault) throw fault.error;
  }

  #started(request: StartBuildRequest): Build {
    const { kind, fence, embedding } = request;
    this.build ??= this.#onDisk;
    this.#onDisk = undefined;
    if (this.build?.jobId !== fence?.jobId) this.build = undefined;
    this.build ??= Build.fromPartial({
      kind,
      jobId: fence?.jobId ?? "",
      generation: 2n,
      vectorsTotal: BigInt(this.chunks.size),
      phase: BuildPhase.BUILD_PHASE_BUILDING,
      ...(embedding ? { embedding } : {}),
      ...(kind === BuildKind.BUILD_KIND_REGENERATE ? { phase: BuildPhase.BUILD_PHASE_EMBEDDING } : {}),
    });
    this.build.lease = fence?.lease ?? 0n;
    return this.#counted();
  }

  #present(): Build {
    if (!this.build) throw buildNotFound();
    return this.build;
  }

  /** Moves the build on: an eye that looks is the only clock here. */
  #look(): Build {
    const build = this.#counted();
    const { phase } = build;
    if (phase === BuildPhase.BUILD_PHASE_EMBEDDING && this.#missing().length < PAGE_CHUNKS) {
      build.phase = BuildPhase.BUILD_PHASE_BUILDING;
    } else if (phase === BuildPhase.BUILD_PHASE_BUILDING) {
      const step = BigInt(Math.ceil(this.chunks.size / this.looks));
      build.vectorsDone =
        build.vectorsDone + step < build.vectorsTotal ? build.vectorsDone + step : build.vectorsTotal;
      if (build.vectorsDone >= build.vectorsTotal) build.phase = BuildPhase.BUILD_PHASE_VERIFYING;
    } else if (phase === BuildPhase.BUILD_PHASE_VERIFYING) {
      build.phase = BuildPhase.BUILD_PHASE_READY;
      build.figures = figures(build.vectorsTotal);
      Object.assign(build, this.ends);
    }
    return build;
  }

  #counted(): Build {
    const build = this.#present();
    build.vectorsTotal = BigInt(this.chunks.size);
    if (build.kind === BuildKind.BUILD_KIND_REGENERATE) {
      build.chunksTotal = build.vectorsTotal;
      build.chunksEmbedded = BigInt(this.vectors.size);
    }
    return build;
  }

  #swap(): { build: Build; held: boolean } {
    const build = this.#counted();
    const lacks = build.kind === BuildKind.BUILD_KIND_REGENERATE ? this.#missing().length : 0;
    if (build.phase !== BuildPhase.BUILD_PHASE_READY) return { build, held: false };
    if (lacks > 0) {
      this.holds += 1;
      this.onHeld();
      return { build, held: lacks <= 256 };
    }
    build.phase = BuildPhase.BUILD_PHASE_SWAPPED;
    return { build, held: false };
  }

  #missing(): BuildChunk[] {
    const missing: BuildChunk[] = [];
    for (const [key, text] of this.chunks) {
      if (!this.vectors.has(key))
        missing.push({ key, text, vector: this.known.get(text) ?? Buffer.alloc(0) });
    }
    return missing;
  }
}

function figures(vectors: bigint): BuildFigures {
  return BuildFigures.fromPartial({
    oldIndexType: "hnsw",
    newIndexType: "flat",
    vectors,
    tombstones: 7n,
    recallAt10: 0.99,
    oldRecallAt10: 0.97,
    sampleQueries: 200,
    oldMemoryBytes: 5_000n,
    newMemoryBytes: 3_000n,
    oldDiskBytes: 4_000n,
    newDiskBytes: 2_500n,
    buildSeconds: 1.5,
  });
}

export function buildNotFound(): ArrwError {
  return new ArrwError("NOT_FOUND", "no build of the job", { reason: "BUILD_NOT_FOUND" });
}

export function buildRunning(): ArrwError {
  return new ArrwError("ABORTED", "another job's build is under way", { reason: "BUILD_RUNNING" });
}

export const indexAway = (): ArrwError => unavailable("the index is away");
