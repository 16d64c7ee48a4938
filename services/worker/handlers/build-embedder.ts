import { LRUCache } from "lru-cache";
import type { EmbeddingProvider } from "../../../platform/embedding/provider.ts";
import { textHash } from "../../../platform/embedding/text-hash.ts";
import { ArrwError } from "../../../platform/errors.ts";
import type {
  Build,
  BuildChunk,
  ReadBuildChunksResponse,
} from "../../../proto/gen/arrwdb/index/v1/builds.ts";
import type { EmbeddingCounts } from "../domain/build-results.ts";
import { whileUnavailable } from "../retry.ts";
import { unlessAborted } from "../unless-aborted.ts";
import type { BuildSession } from "./build-session.ts";
import { oneAhead } from "./one-ahead.ts";

export interface BuildEmbedderOptions {
  readonly session: Pick<BuildSession, "readChunks" | "writeVectors">;
  readonly provider: EmbeddingProvider;
  /** Chunks read, embedded and written at a time. */
  readonly pageChunks: number;
  readonly signal: AbortSignal;
  /** Told of each page once it is durable. */
  readonly onWritten: (build: Build, page: EmbeddingCounts) => Promise<void> | void;
  /** @throws the signal's reason */
  readonly wait: (ms: number) => Promise<void>;
  /** Told before a pause that the provider asks for. */
  readonly onWaiting: (why: string, pauseMs: number) => void;
}

interface EmbeddedPage extends EmbeddingCounts {
  readonly throughKey: bigint;
  readonly keys: bigint[];
  readonly vectors: Buffer;
}

const FULL_PAGE_CHARACTERS = 512 * 1024;
/** Bounds a page's vectors, whatever their length. */
const MAX_PAGE_BYTES = 8 * 1024 * 1024;
/** Vectors remembered, so that the same text is embedded once, and so is a page whose acknowledgement was lost. */
const REMEMBERED_BYTES = 64 * 1024 * 1024;
/** A provider that is away is waited for: given up, the build would be dropped before the job's next attempt. */
const EMBED_FOR_MS = 300_000;
const LEAST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 3_600_000;

/** Brings a build the vectors that it lacks: while a page is written the next one is read and embedded. */
export class BuildEmbedder {
  readonly #options: BuildEmbedderOptions;
  readonly #limit: number;
  readonly #known: LRUCache<string, Float32Array>;
  /** Settles when the page that was embedded last is. */
  #embedding: Promise<unknown> = Promise.resolve();

  constructor(options: BuildEmbedderOptions) {
    const vectorBytes = options.provider.dimensions * 4;
    this.#options = options;
    this.#limit = Math.max(1, Math.min(options.pageChunks, Math.floor(MAX_PAGE_BYTES / vectorBytes)));
    this.#known = new LRUCache({ max: Math.max(1, Math.floor(REMEMBERED_BYTES / vectorBytes)) });
  }

  /**
   * Until a page is the last one: as long as documents are written there may be more at once.
   * @returns the build after the last page; undefined = no chunk lacked its vector
   */
  async bringAll(): Promise<Build | undefined> {
    const { session, signal, onWritten } = this.#options;
    // What was being embedded when the one before broke off is paid for; its vectors will be remembered.
    await unlessAborted(this.#embedding, signal);
    let build: Build | undefined;
    const ended = new AbortController();
    try {
      for await (const page of oneAhead(this.#pages(ended.signal), signal)) {
        build = await session.writeVectors(page);
        await onWritten(build, page);
      }
      return build;
    } finally {
      ended.abort();
    }
  }

  async *#pages(ended: AbortSignal): AsyncGenerator<EmbeddedPage> {
    for (let afterKey = 0n, last = false; !last; ) {
      const page = await this.#options.session.readChunks(afterKey, this.#limit);
      if (page.chunks.length === 0 || ended.aborted) return;
      last = this.#isLast(page);
      afterKey = page.throughKey;
      const embedded = this.#embedded(page);
      this.#embedding = embedded.catch(() => undefined);
      yield await embedded;
    }
  }

  /** A page ends at its limit, at about 2 MB of text, or where there are no more chunks. */
  #isLast({ chunks }: ReadBuildChunksResponse): boolean {
    const characters = chunks.reduce((sum, { text }) => sum + text.length, 0);
    return chunks.length < this.#limit && characters < FULL_PAGE_CHARACTERS;
  }

  async #embedded({ chunks, throughKey }: ReadBuildChunksResponse): Promise<EmbeddedPage> {
    const { dimensions } = this.#options.provider;
    const hashes = chunks.map(({ text, vector }) =>
      vector.length > 0 ? "" : textHash(text).toString("latin1"),
    );
    const made = await this.#made(chunks, hashes);
    const vectors = Buffer.allocUnsafe(chunks.length * dimensions * 4);
    for (const [place, { key, vector }] of chunks.entries()) {
      const row = vector.length > 0 ? vector : bytesOf(made.get(hashes[place] ?? ""));
      if (row.length !== dimensions * 4) {
        throw new ArrwError(
          "INTERNAL",
          `chunk ${key} has a vector of ${row.length} bytes; ${dimensions * 4} are wanted`,
        );
      }
      vectors.set(row, place * dimensions * 4);
    }
    const reembedded = made.size - made.remembered;
    const keys = chunks.map(({ key }) => key);
    return { throughKey, keys, vectors, reembedded, reused: chunks.length - reembedded };
  }

  /** The vectors of the page's texts by hash, remembered or embedded now. */
  async #made(chunks: readonly BuildChunk[], hashes: readonly string[]): Promise<Made> {
    const made = new Made();
    const wanted = new Map<string, BuildChunk>();
    for (const [place, chunk] of chunks.entries()) {
      const hash = hashes[place] ?? "";
      if (hash === "" || made.has(hash) || wanted.has(hash)) continue;
      const known = this.#known.get(hash);
      if (known) made.remember(hash, known);
      else wanted.set(hash, chunk);
    }
    const rows = await this.#embed([...wanted.values()]);
    const { dimensions } = this.#options.provider;
    let place = 0;
    for (const hash of wanted.keys()) {
      const row = rows.slice(place * dimensions, (place + 1) * dimensions);
      this.#known.set(hash, row);
      made.set(hash, row);
      place += 1;
    }
    return made;
  }

  async #embed(chunks: readonly BuildChunk[]): Promise<Float32Array> {
    if (chunks.length === 0) return new Float32Array(0);
    const { provider, signal } = this.#options;
    const texts = chunks.map(({ text }) => text);
    const { rows, refused } = await this.#untilTaken(() => provider.embedEach(texts, signal, "document"));
    for (const [place, why] of refused) {
      const text = `chunk ${chunks[place]?.key} can't be embedded: ${why}`;
      throw new ArrwError("FAILED_PRECONDITION", text, { reason: "EMBEDDING_INPUT_REFUSED" });
    }
    return rows;
  }

  /**
   * A provider that takes no more calls for a while is waited for as long as it says, and only the attempt's own timeouts bound
   * that: the build is kept alive meanwhile, and given up, its vectors would have to be paid for again.
   */
  async #untilTaken<T>(run: () => Promise<T>): Promise<T> {
    const { signal, wait, onWaiting } = this.#options;
    for (;;) {
      try {
        return await whileUnavailable(run, { forMs: EMBED_FOR_MS, signal });
      } catch (error) {
        if (!(error instanceof ArrwError) || error.code !== "RESOURCE_EXHAUSTED") throw error;
        const pauseMs = Math.min(MAX_PAUSE_MS, Math.max(LEAST_PAUSE_MS, error.retryAfterMs ?? 0));
        onWaiting(error.message, pauseMs);
        await wait(pauseMs);
      }
    }
  }
}

/** Vectors of one page by their texts' hashes. */
class Made extends Map<string, Float32Array> {
  remembered = 0;

  remember(hash: string, vector: Float32Array): void {
    this.set(hash, vector);
    this.remembered += 1;
  }
}

function bytesOf(vector: Float32Array | undefined): Uint8Array {
  return vector ? new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength) : new Uint8Array(0);
}
