import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { connect, unary } from "../../platform/grpc/client.ts";
import {
  type Build,
  BuildKind,
  BuildPhase,
  BuildServiceClient,
  type BuildServiceClient as Client,
  type ReadBuildChunksResponse,
  type StartBuildRequest,
} from "../../proto/gen/arrwdb/index/v1/builds.ts";
import type { IndexServiceClient } from "../../proto/gen/arrwdb/index/v1/index.ts";
import type { Library } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { openStore } from "../../services/index/store.ts";
import { eventually } from "./eventually.ts";
import type { Cleanup } from "./temp.ts";

/** A job that builds, as the index service sees it. */

const CALL = { timeoutMs: 30_000 };

export class TestBuilds {
  readonly #index: IndexServiceClient;
  readonly client: Client;
  readonly libraryId: string;

  constructor(t: Cleanup, index: IndexServiceClient, address: string, libraryId: string) {
    this.#index = index;
    this.client = connect(BuildServiceClient, address);
    this.libraryId = libraryId;
    t.after(() => this.client.close());
  }

  /** Begins a lease of a job and its build. */
  async start(
    jobId: string,
    lease: bigint,
    request: Partial<Omit<StartBuildRequest, "libraryId" | "fence">> = {},
  ): Promise<Build> {
    const fence = { jobId, lease };
    await unary(this.#index, this.#index.beginLease, { libraryId: this.libraryId, fence }, CALL);
    return this.again(jobId, lease, request);
  }

  /** StartBuild alone. */
  async again(
    jobId: string,
    lease: bigint,
    request: Partial<Omit<StartBuildRequest, "libraryId" | "fence">> = {},
  ): Promise<Build> {
    const { client, libraryId } = this;
    const full: StartBuildRequest = {
      libraryId,
      fence: { jobId, lease },
      kind: BuildKind.BUILD_KIND_REBUILD,
      indexType: "",
      indexConfig: undefined,
      embedding: undefined,
      minRecall: 0,
      submittedAt: undefined,
      run: 1,
      ...request,
    };
    return known((await unary(client, client.startBuild, full, { timeoutMs: 60_000 })).build);
  }

  async end(jobId: string, lease: bigint): Promise<void> {
    const request = { libraryId: this.libraryId, fence: { jobId, lease } };
    await unary(this.#index, this.#index.endLease, request, CALL);
  }

  async get(jobId: string, lease: bigint): Promise<Build> {
    const { client, libraryId } = this;
    return known((await unary(client, client.getBuild, { libraryId, fence: { jobId, lease } }, CALL)).build);
  }

  async drop(jobId: string, lease: bigint): Promise<void> {
    const { client, libraryId } = this;
    await unary(client, client.dropBuild, { libraryId, fence: { jobId, lease } }, CALL);
  }

  /** Waits for a phase, or for one of those that end a build. */
  async until(jobId: string, lease: bigint, phase: BuildPhase, timeoutMs = 60_000): Promise<Build> {
    return eventually(
      async () => {
        const build = await this.get(jobId, lease);
        return build.phase === phase || build.phase >= BuildPhase.BUILD_PHASE_SWAPPED ? build : undefined;
      },
      { timeoutMs, what: `phase ${phase}` },
    );
  }

  async swap(jobId: string, lease: bigint): Promise<{ readonly build: Build; readonly held: boolean }> {
    const { client, libraryId } = this;
    const fence = { jobId, lease };
    const { build, held } = await unary(client, client.swapBuild, { libraryId, fence }, CALL);
    return { build: known(build), held };
  }

  /** Start to swap. */
  async rebuild(
    jobId: string,
    request: Partial<Omit<StartBuildRequest, "libraryId" | "fence">> = {},
  ): Promise<Build> {
    await this.start(jobId, 1n, request);
    await this.until(jobId, 1n, BuildPhase.BUILD_PHASE_READY);
    return eventually(async () => {
      const { build } = await this.swap(jobId, 1n);
      return build.phase === BuildPhase.BUILD_PHASE_READY ? undefined : build;
    });
  }

  async readChunks(jobId: string, lease: bigint, limit: number): Promise<ReadBuildChunksResponse> {
    const { client, libraryId } = this;
    const request = { libraryId, fence: { jobId, lease }, limit, afterKey: 0n };
    return unary(client, client.readBuildChunks, request, CALL);
  }

  async writeVectors(
    jobId: string,
    lease: bigint,
    throughKey: bigint,
    keys: bigint[],
    vectors: Buffer,
  ): Promise<void> {
    const { client, libraryId } = this;
    const request = { libraryId, fence: { jobId, lease }, throughKey, keys, vectors };
    await unary(client, client.writeBuildVectors, request, CALL);
  }

  async rollback(): Promise<Library> {
    const { client, libraryId } = this;
    const { library } = await unary(client, client.rollbackGeneration, { libraryId }, CALL);
    if (!library) throw new Error("no library");
    return library;
  }

  async library(): Promise<Library> {
    const request = { libraryId: this.libraryId, visibleLibraries: [] };
    const { library } = await unary(this.#index, this.#index.getLibrary, request, CALL);
    if (!library) throw new Error("no library");
    return library;
  }
}

function known(build: Build | undefined): Build {
  if (!build) throw new Error("no build");
  return build;
}

export interface Held {
  readonly generations: number[];
  readonly building: boolean;
  readonly previous: boolean;
}

/**
 * What the store of a stopped index has of generations. @throws unless files and vectors are exactly those that its rows
 * name
 */
export async function heldGenerations(folder: string, library = 1): Promise<Held> {
  const base = join(folder, "libraries", String(library));
  const store = openStore(join(base, "store"));
  try {
    const generations = [...store.generations.getRange()].map(({ value }) => value);
    const named = [...store.snapshots.getRange()].map(({ value }) => value);
    const files = await readdir(join(base, "index"));
    const expected = named.map(({ file }) => file).sort();
    if (JSON.stringify(files.sort()) !== JSON.stringify(expected))
      throw new Error(`files ${files} instead of ${expected}`);
    for (const { generation } of named)
      if (!generations.some((row) => row.generation === generation))
        throw new Error(`a snapshot of generation ${generation}, which is gone`);
    for (const name of ["vectors", "vectors-1", "vectors-2", "vectors-3"]) {
      const used = generations.some(({ vectors }) => vectors === name);
      const count = store.vectors(name).getKeysCount();
      if (!used && count > 0) throw new Error(`${count} vectors left in ${name}`);
    }
    if ([...store.vectorSets.getRange()].some(({ value }) => value.removed))
      throw new Error("a set to empty");
    return {
      generations: generations.map(({ generation }) => generation),
      building: store.builds.getKeysCount() > 0,
      previous: store.previous.getKeysCount() > 0,
    };
  } finally {
    await store.env.close();
  }
}
