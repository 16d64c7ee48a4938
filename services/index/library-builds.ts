import type { Build as BuildMessage } from "../../proto/gen/arrwdb/index/v1/builds.ts";
import { Build, BuildFailure, MAX_MISSING } from "./build.ts";
import { buildNotFound, buildRunning } from "./build-errors.ts";
import type { BuildEnd, BuildHost } from "./build-host.ts";
import type { BuildRequest } from "./build-plan.ts";
import { failed, swapped } from "./build-results.ts";
import { type BuildRow, readBuild, readPrevious, readResult, resultOfLease } from "./build-rows.ts";
import { beginBuild } from "./build-start.ts";
import { type ChunkPage, checkedVectors, readChunks } from "./build-vectors.ts";
import { buildMessage, resultMessage } from "./build-view.ts";
import { GenerationChanges } from "./generation-changes.ts";
import { GenerationWriter } from "./generation-writer.ts";
import type { DocumentWrite, FenceClaim } from "./library-writer.ts";
import { type GenerationRow, readState } from "./store.ts";
import { UpsertGate } from "./upsert-gate.ts";

/** Upserts are held for so long at most. */
const HOLD_MS = 2_000;
/** A build with more to add isn't swapped yet: searches would have to compare with all of that. */
const MAX_TAIL = 4_096;

/** The build of a library: there is one at a time, and it belongs to a job. */
export class LibraryBuilds {
  readonly #host: BuildHost;
  readonly #writer: GenerationWriter;
  readonly #changes: GenerationChanges;
  readonly #gate = new UpsertGate();
  readonly #timer: NodeJS.Timeout;
  #build: Build | undefined;
  #seenAtMs = performance.now();
  #rollback: Promise<void> | undefined;
  #dropping = false;
  /** Starts, swaps and ends, one after the other. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(host: BuildHost) {
    this.#host = host;
    this.#writer = new GenerationWriter(host.store, host.writer);
    this.#changes = new GenerationChanges(host, this.#writer);
    this.#timer = setInterval(() => this.#dropUnattended(), host.keepAliveMs / 10).unref();
  }

  /** The library has to stay open for it. */
  get busy(): boolean {
    return readBuild(this.#host.store) !== undefined || this.#rollback !== undefined || this.#changes.busy;
  }

  /** There are files or rows that somebody has to look after later. */
  get unsettled(): boolean {
    return this.busy || readPrevious(this.#host.store) !== undefined;
  }

  /** Memory of indexes beside the live one; a build has what it will need, lest several that begin together get too much. */
  get memoryBytes(): number {
    const { row, generation } = this.#build ?? {};
    const building = Math.max(row?.predictedBytes ?? 0, generation?.index?.progress.indexBytes ?? 0);
    return building + (this.#changes.returning?.progress.indexBytes ?? 0);
  }

  /** The generation that is being built; undefined = none. */
  get building(): number | undefined {
    return readBuild(this.#host.store)?.generation;
  }

  /** It has a thread of its own. */
  get ownsThread(): boolean {
    return this.#build !== undefined || this.#changes.returning !== undefined;
  }

  /** Something was committed. */
  changed(): void {
    this.#build?.changed();
    this.#changes.returning?.changed();
  }

  /** Makes a writer wait while a build needs that. @throws the signal's reason */
  async admit(documents: readonly DocumentWrite[], signal: AbortSignal): Promise<void> {
    await this.#gate.pass();
    await this.#build?.admit(documents, signal);
  }

  /** @throws LEASE_FENCED, BUILD_RUNNING, INDEX_MEMORY_LIMIT, INVALID_ARGUMENT */
  async start(claim: FenceClaim, request: BuildRequest): Promise<BuildMessage> {
    // It is compared with it later; and opening may take long, so that nobody shall wait for it in the line.
    await this.#host.live().open();
    return this.#alone(() => this.#start(claim, request));
  }

  async #start(claim: FenceClaim, request: BuildRequest): Promise<BuildMessage> {
    const { store, writer } = this.#host;
    writer.assertFence(claim);
    const result = readResult(store, claim.jobId, request.run);
    if (result) return resultMessage(claim.jobId, result);
    const current = readBuild(store);
    if (current) {
      const own = current.jobId === claim.jobId;
      if (own && current.run === request.run) return this.#adopt(claim, current);
      if (!own && writer.isActive(current.jobId)) throw buildRunning(current.jobId);
      await this.#drop(current);
    }
    const begun = await beginBuild(this.#host, this.#writer, claim, request);
    if ("outcome" in begun) return resultMessage(claim.jobId, begun);
    return buildMessage(this.#open(begun.build, begun.generation), store);
  }

  async #adopt(claim: FenceClaim, current: BuildRow): Promise<BuildMessage> {
    const { store } = this.#host;
    const row = await this.#writer.adopt(claim, current);
    this.#seenAtMs = performance.now();
    if (this.#build?.stopped) {
      // Its end could not be written down: it begins again where its last file is.
      await this.#build.generation.discard();
      this.#build = undefined;
    }
    if (this.#build) this.#build.row = row;
    const generation = store.generations.get(row.generation) as GenerationRow;
    return buildMessage(this.#build ?? this.#open(row, generation), store);
  }

  #open(row: BuildRow, generation: GenerationRow): Build {
    const { store, folder, newGeneration, live } = this.#host;
    const build: Build = new Build({
      row,
      generation: newGeneration(generation, "building"),
      store,
      folder,
      live,
      onFailed: (failure) => this.#beside(() => this.#fail(build, failure)),
    });
    this.#build = build;
    this.#seenAtMs = performance.now();
    build.start();
    return build;
  }

  /** Keeps it alive. @throws LEASE_FENCED, BUILD_NOT_FOUND */
  async get(claim: FenceClaim): Promise<BuildMessage> {
    const build = this.#attend(claim);
    return build instanceof Build ? buildMessage(build, this.#host.store) : build;
  }

  /** @throws LEASE_FENCED, BUILD_NOT_FOUND */
  async readChunks(claim: FenceClaim, limit: number, afterKey: number): Promise<ChunkPage> {
    const build = this.#attend(claim);
    if (!(build instanceof Build) || build.row.kind !== "regenerate") throw buildNotFound(claim);
    return readChunks(this.#host.store, build.generation.row, this.#host.live().row, limit, afterKey);
  }

  /** @param vectors packed @throws LEASE_FENCED, BUILD_NOT_FOUND, INVALID_ARGUMENT */
  async writeVectors(
    claim: FenceClaim,
    throughKey: number,
    keys: readonly number[],
    vectors: Buffer,
  ): Promise<BuildMessage> {
    const { store } = this.#host;
    const build = this.#attend(claim);
    if (!(build instanceof Build) || build.row.kind !== "regenerate") throw buildNotFound(claim);
    const target = build.generation.row;
    const pairs = checkedVectors(store, target, throughKey, keys, vectors);
    if (pairs) await this.#writer.addVectors(claim, target, throughKey, pairs);
    build.changed();
    return buildMessage(build, store);
  }

  /** @throws LEASE_FENCED, BUILD_NOT_FOUND */
  swap(claim: FenceClaim): Promise<{ readonly build: BuildMessage; readonly held: boolean }> {
    return this.#alone(async () => {
      const { store } = this.#host;
      const build = this.#attend(claim);
      if (!(build instanceof Build)) return { build, held: false };
      if (build.stopped && !build.failure) throw buildNotFound(claim);
      const { missing } = build;
      const ready = build.phase === "ready" && !build.failure;
      const held = ready && missing > 0 && missing <= MAX_MISSING;
      if (held) this.#gate.hold(HOLD_MS);
      if (!ready || missing > 0 || build.behind > MAX_TAIL)
        return { build: buildMessage(build, store), held };
      const result = swapped(build, readState(store).chunks);
      // Chunks may have been stored since they were counted.
      if (!(await this.#changes.swap(claim, build, result)))
        return { build: buildMessage(build, store), held: false };
      build.leave();
      this.#build = undefined;
      this.#gate.release();
      this.#ended(build, "swapped");
      return { build: resultMessage(claim.jobId, result), held: false };
    });
  }

  /** Fine when the job has no build. @throws LEASE_FENCED */
  drop(claim: FenceClaim): Promise<void> {
    // It need not wait for its turn to be told.
    if (this.#build?.row.jobId === claim.jobId && this.#host.writer.holds(claim)) this.#build.stop();
    return this.#alone(async () => {
      this.#host.writer.assertFence(claim);
      const current = readBuild(this.#host.store);
      if (current?.jobId === claim.jobId) await this.#drop(current);
    });
  }

  /** Everybody who asks meanwhile waits for the same one. @throws NO_PREVIOUS_GENERATION, EMBEDDING_CHANGED */
  rollback(): Promise<void> {
    this.#rollback ??= this.#alone(() => this.#goBack()).finally(() => {
      this.#rollback = undefined;
    });
    return this.#rollback;
  }

  async #goBack(): Promise<void> {
    const { store } = this.#host;
    const row = readBuild(store);
    const failure = new BuildFailure("LIBRARY_CHANGED", "the library went back to other vectors meanwhile");
    await this.#changes.rollback((build, generation) => {
      const figures = this.#build?.figures;
      return failed({ row: build, figures }, generation, failure);
    });
    // Its rows went with the rollback.
    if (row && readBuild(store) === undefined) await this.#drop(row, failure);
  }

  /** Forgets what is kept for long enough. */
  expire(nowMs: number): Promise<void> {
    return this.#alone(() => this.#changes.expire(nowMs));
  }

  /** Ends what is under way, and lets waiting writers go. Rows stay: it can be taken up after the next start. */
  abandon(): void {
    this.#gate.release();
    this.#build?.stop();
    this.#changes.abandon();
  }

  /** @param save make a last snapshot of a small index */
  async close(save: boolean): Promise<void> {
    clearInterval(this.#timer);
    this.abandon();
    await this.#tail;
    await this.#changes.close();
    await this.#build?.generation.close(save);
  }

  /** The job's build, which is kept alive by this; or what came of it. */
  #attend(claim: FenceClaim): Build | BuildMessage {
    const { store, writer } = this.#host;
    writer.assertFence(claim);
    const build = this.#build;
    if (build?.row.jobId === claim.jobId && build.row.lease === claim.lease.toString()) {
      this.#seenAtMs = performance.now();
      return build;
    }
    const result = resultOfLease(store, claim.jobId, claim.lease.toString());
    if (!result) throw buildNotFound(claim);
    return resultMessage(claim.jobId, result);
  }

  async #fail(build: Build, failure: BuildFailure): Promise<void> {
    if (this.#build === build) await this.#drop(build.row, failure);
  }

  #dropUnattended(): void {
    if (performance.now() - this.#seenAtMs < this.#host.keepAliveMs) return;
    if (readBuild(this.#host.store) === undefined) return;
    if (this.#dropping) return;
    this.#dropping = true;
    this.#beside(async () => {
      this.#dropping = false;
      const current = readBuild(this.#host.store);
      // It may have been asked for while others had their turn.
      if (!current || performance.now() - this.#seenAtMs < this.#host.keepAliveMs) return;
      this.#host.log.warn({ job_id: current.jobId }, "nobody asks for a build any more; it is dropped");
      await this.#drop(current);
    });
  }

  /** Takes a build away with all that it has. @param failure what it ends with; undefined = with nothing */
  async #drop(row: BuildRow, failure?: BuildFailure): Promise<void> {
    const { store } = this.#host;
    const build = this.#build;
    build?.stop();
    const generation = store.generations.get(row.generation);
    const result = failure && generation && failed({ row, figures: build?.figures }, generation, failure);
    await this.#writer.drop(row, result);
    this.#build = undefined;
    this.#gate.release();
    await this.#changes.forget(build?.generation, row.generation);
    this.#ended({ row, figures: build?.figures }, failure ? "failed" : "dropped");
  }

  #ended({ row, figures }: Pick<Build, "row" | "figures">, outcome: BuildEnd["outcome"]): void {
    const seconds = Math.max(0, Date.now() - row.startedAtMs) / 1_000;
    this.#host.onBuildEnded({ kind: row.kind, outcome, seconds, recall: figures?.recallAt10 });
  }

  /** In its turn, with nobody who waits: tried again when it is unattended. */
  #beside(run: () => Promise<void>): void {
    this.#alone(run).catch((error: unknown) =>
      this.#host.log.error({ err: error }, "a build can't be removed yet"),
    );
  }

  #alone<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(run);
    this.#tail = result.catch(() => undefined);
    return result;
  }
}
