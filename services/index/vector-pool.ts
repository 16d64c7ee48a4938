import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { startThread } from "../../platform/thread.ts";
import type { SnapshotRow } from "./store.ts";
import { ThreadClient } from "./thread-client.ts";
import type { HnswParameters } from "./usearch-index.ts";
import type {
  CancelBuild,
  CheckedSnapshot,
  IndexSpec,
  NumberedSpec,
  ProbeAnswer,
  ProbeRequest,
  Progress,
  RecallRequest,
  Sample,
  SampleRequest,
  Sealed,
  SearchResult,
  SearchSpec,
  SnapshotRequest,
  VectorRequest,
} from "./vector-protocol.ts";

/** An index in its thread. */
export interface OpenIndex {
  readonly spec: NumberedSpec;
  search(search: SearchSpec): Promise<SearchResult>;
  /** Something was committed. */
  changed(): void;
  /** Searches come from here on. */
  serve(): void;
  /** How far it is as of now. */
  look(): Promise<Progress>;
  /** Writes the index to a file, in its thread. */
  save(path: string): Promise<Progress>;
  sample(request: SampleRequest): Promise<Sample>;
  probe(request: ProbeRequest): Promise<ProbeAnswer>;
  recall(request: RecallRequest): Promise<number>;
  /** A key whose vector has a value beyond `max`; 0 = none. */
  keyBeyond(max: number): Promise<number>;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** In a thread of its own, which ends when it is closed. */
  readonly dedicated: boolean;
  /** Told whenever the index has moved on. */
  readonly onProgress: (progress: Progress) => void;
}

export interface VectorPoolOptions {
  readonly threads: number;
  /** Vectors kept in memory for brute force, in bytes, by each shared thread; dedicated ones keep a quarter. */
  readonly cacheBytes: number;
  readonly log: Logger;
  /** A thread died: the process can't go on. */
  readonly onDeath: (error: Error) => void;
}

/** A builder of snapshots reads each vector once. */
const BUILDER_CACHE_BYTES = 8 * 1024 * 1024;

interface SearchThread {
  readonly client: ThreadClient<VectorRequest>;
  indexes: number;
}

/** The threads that own the indexes, and the one that makes their files. An index stays with one thread. */
export class VectorPool implements Part {
  readonly name = "vector threads";
  readonly #options: VectorPoolOptions;
  readonly #listeners = new Map<number, (progress: Progress) => void>();
  #threads: SearchThread[] = [];
  readonly #dedicated = new Set<SearchThread>();
  #snapshots: ThreadClient<SnapshotRequest> | undefined;
  #nextIndex = 1;

  constructor(options: VectorPoolOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { threads, cacheBytes, onDeath } = this.#options;
    this.#threads = Array.from({ length: threads }, () => this.#startThread(cacheBytes));
    const builder = { workerData: { cacheBytes: BUILDER_CACHE_BYTES } };
    this.#snapshots = new ThreadClient(startThread("./snapshot-thread", import.meta.url, builder), {
      onDeath,
    });
    const clients = this.#threads.map(({ client }) => client.ask({ type: "hello" }));
    await Promise.all([...clients, this.#snapshots.ask({ type: "hello" })]);
  }

  async open(
    spec: IndexSpec,
    snapshot: CheckedSnapshot | undefined,
    { dedicated, onProgress }: OpenOptions,
  ): Promise<{ readonly index: OpenIndex; readonly progress: Progress }> {
    const number = this.#nextIndex++;
    const numbered: NumberedSpec = { ...spec, index: number };
    const thread = dedicated ? this.#startDedicated() : this.#leastUsed();
    thread.indexes += 1;
    this.#listeners.set(number, onProgress);
    const { client } = thread;
    const release = async (): Promise<void> => {
      thread.indexes -= 1;
      this.#listeners.delete(number);
      if (!this.#dedicated.delete(thread)) return;
      await client.stop();
    };
    const request: VectorRequest = {
      type: "open",
      spec: numbered,
      ...(snapshot === undefined ? {} : { snapshot }),
    };
    const progress = await client.ask<Progress>(request).catch(async (error: unknown) => {
      await release();
      throw error;
    });
    const index: OpenIndex = {
      spec: numbered,
      search: (search) =>
        client.ask(
          { type: "search", index: number, search },
          search.keys ? [search.keys.buffer as ArrayBuffer] : [],
        ),
      changed: () => client.tell({ type: "changed", index: number }),
      serve: () => client.tell({ type: "serve", index: number }),
      look: () => client.ask({ type: "look", index: number }),
      sample: (request) => client.ask({ ...request, type: "sample", index: number }),
      probe: (request) => client.ask({ ...request, type: "probe", index: number }),
      recall: (request) => client.ask({ ...request, type: "recall", index: number }),
      keyBeyond: (max) => client.ask({ type: "beyond", index: number, max }),
      save: (path) => client.ask({ type: "save", index: number, path }),
      close: async () => {
        await client.ask({ type: "close", index: number });
        await release();
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
  buildSnapshot(spec: NumberedSpec, from: CheckedSnapshot, path: string, through: number): Promise<Progress> {
    return this.#snapshotThread().ask({ type: "build", spec, from, path, through });
  }

  /** Ends the making of an index's file with an error, if there is any. */
  cancelBuild(index: number): void {
    this.#snapshots?.tell({ type: "cancel", index } satisfies CancelBuild);
  }

  #startThread(cacheBytes: number): SearchThread {
    const worker = startThread("./vector-thread", import.meta.url, { workerData: { cacheBytes } });
    const onProgress = (index: number, progress: Progress): void => this.#listeners.get(index)?.(progress);
    return { client: new ThreadClient(worker, { onDeath: this.#options.onDeath, onProgress }), indexes: 0 };
  }

  #startDedicated(): SearchThread {
    const thread = this.#startThread(this.#options.cacheBytes / 4);
    this.#dedicated.add(thread);
    return thread;
  }

  #leastUsed(): SearchThread {
    return this.#threads.reduce((a, b) => (b.indexes < a.indexes ? b : a));
  }

  #snapshotThread(): ThreadClient<SnapshotRequest> {
    if (!this.#snapshots) throw new Error("the vector threads are not running");
    return this.#snapshots;
  }

  async stop(): Promise<void> {
    const threads = [...this.#threads, ...this.#dedicated].map(({ client }) => client.stop());
    const snapshots = this.#snapshots?.stop();
    this.#threads = [];
    this.#dedicated.clear();
    this.#snapshots = undefined;
    await Promise.all([...threads, snapshots]);
  }
}
