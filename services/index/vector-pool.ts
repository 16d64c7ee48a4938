import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { startThread } from "../../platform/thread.ts";
import type { SnapshotRow } from "./store.ts";
import { ThreadClient } from "./thread-client.ts";
import type { HnswParameters } from "./usearch-index.ts";
import type {
  CancelBuild,
  CheckedSnapshot,
  LibrarySpec,
  Progress,
  Sealed,
  SearchResult,
  SearchSpec,
  SnapshotRequest,
  VectorRequest,
} from "./vector-protocol.ts";

/** A library's index in its thread. */
export interface OpenIndex {
  search(search: SearchSpec): Promise<SearchResult>;
  /** Something was committed. */
  changed(): void;
  /** Writes the index to a file, in its thread. */
  save(path: string): Promise<Progress>;
  close(): Promise<void>;
}

export interface VectorPoolOptions {
  readonly threads: number;
  /** Vectors kept in memory for brute force, in bytes, by each thread. */
  readonly cacheBytes: number;
  readonly log: Logger;
  /** A thread died: the process can't go on. */
  readonly onDeath: (error: Error) => void;
}

/** A builder reads each vector once. */
const BUILDER_CACHE_BYTES = 8 * 1024 * 1024;

interface SearchThread {
  readonly client: ThreadClient<VectorRequest>;
  libraries: number;
}

/** The threads that own the indexes, and the one that makes their files. A library stays with one thread. */
export class VectorPool implements Part {
  readonly name = "vector threads";
  readonly #options: VectorPoolOptions;
  readonly #listeners = new Map<number, (progress: Progress) => void>();
  #threads: SearchThread[] = [];
  #snapshots: ThreadClient<SnapshotRequest> | undefined;

  constructor(options: VectorPoolOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { threads, cacheBytes, onDeath } = this.#options;
    const workerData = { cacheBytes };
    this.#threads = Array.from({ length: threads }, () => ({
      client: new ThreadClient<VectorRequest>(
        startThread("./vector-thread", import.meta.url, { workerData }),
        { onDeath, onProgress: (library, progress) => this.#listeners.get(library)?.(progress) },
      ),
      libraries: 0,
    }));
    const builder = { workerData: { cacheBytes: BUILDER_CACHE_BYTES } };
    this.#snapshots = new ThreadClient(startThread("./snapshot-thread", import.meta.url, builder), {
      onDeath,
    });
    const clients = this.#threads.map(({ client }) => client.ask({ type: "hello" }));
    await Promise.all([...clients, this.#snapshots.ask({ type: "hello" })]);
  }

  /** @param onProgress told whenever the index has moved on */
  async open(
    spec: LibrarySpec,
    snapshot: CheckedSnapshot | undefined,
    onProgress: (progress: Progress) => void,
  ): Promise<{ readonly index: OpenIndex; readonly progress: Progress }> {
    const { library } = spec;
    const thread = this.#threads.reduce((a, b) => (b.libraries < a.libraries ? b : a));
    thread.libraries += 1;
    this.#listeners.set(library, onProgress);
    const { client } = thread;
    const release = (): void => {
      thread.libraries -= 1;
      this.#listeners.delete(library);
    };
    const request: VectorRequest = snapshot ? { type: "open", spec, snapshot } : { type: "open", spec };
    const progress = await client.ask<Progress>(request).catch((error: unknown) => {
      release();
      throw error;
    });
    const index: OpenIndex = {
      search: (search) =>
        client.ask(
          { type: "search", library, search },
          search.keys ? [search.keys.buffer as ArrayBuffer] : [],
        ),
      changed: () => client.tell({ type: "changed", library }),
      save: (path) => client.ask({ type: "save", library, path }),
      close: async () => {
        await client.ask({ type: "close", library });
        release();
      },
    };
    return { index, progress };
  }

  /** Why a snapshot must not be loaded; undefined = it may. */
  checkSnapshot(path: string, row: SnapshotRow, parameters: HnswParameters): Promise<string | undefined> {
    return this.#snapshotThread().ask({ type: "check", path, row, parameters });
  }

  /** Puts a saved file on the disk under its name. @throws when the file is damaged */
  sealSnapshot(from: string, to: string, parameters: HnswParameters): Promise<Sealed> {
    return this.#snapshotThread().ask({ type: "seal", from, to, parameters });
  }

  /** Makes the next file from the one before, beside the serving thread. */
  buildSnapshot(spec: LibrarySpec, from: CheckedSnapshot, path: string, through: number): Promise<Progress> {
    return this.#snapshotThread().ask({ type: "build", spec, from, path, through });
  }

  /** Ends a library's build with an error, if there is one. */
  cancelBuild(library: number): void {
    this.#snapshots?.tell({ type: "cancel", library } satisfies CancelBuild);
  }

  #snapshotThread(): ThreadClient<SnapshotRequest> {
    if (!this.#snapshots) throw new Error("the vector threads are not running");
    return this.#snapshots;
  }

  async stop(): Promise<void> {
    const threads = this.#threads.map(({ client }) => client.stop());
    const snapshots = this.#snapshots?.stop();
    this.#threads = [];
    this.#snapshots = undefined;
    await Promise.all([...threads, snapshots]);
  }
}
