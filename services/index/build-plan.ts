import { embeddingId } from "../../platform/embedding/embedding-id.ts";
import { ArrwError, invalidArgument, unavailable } from "../../platform/errors.ts";
import type { BuildKind } from "./build-rows.ts";
import { indexMemoryBytes } from "./domain/index-memory.ts";
import { freeVectorSet } from "./generations.ts";
import { type Embedding, type GenerationRow, type IndexShape, readState, type Store } from "./store.ts";

/** What a build is asked to be. */
export interface BuildRequest {
  readonly kind: BuildKind;
  readonly run: number;
  /** What differs from the live generation. */
  readonly shape: Partial<Omit<IndexShape, "embedding">>;
  /** undefined = the live generation's. */
  readonly embedding: Embedding | undefined;
  /** 0..1. */
  readonly minRecall: number;
  readonly submittedAtMs: number;
}

export interface MemoryLimit {
  readonly limitBytes: number;
  /** Closes idle libraries if that makes room. @returns what all loaded indexes take then */
  makeRoom(bytes: number): Promise<number>;
}

/** A build's generation, but for its number. */
export interface BuildPlan {
  readonly row: Omit<GenerationRow, "generation">;
  /** Its set of vectors is its own, and empty. */
  readonly ownSet: boolean;
  readonly predictedBytes: number;
}

/** @throws INVALID_ARGUMENT, UNAVAILABLE while earlier vectors are being removed */
export function plan(store: Store, live: GenerationRow, request: BuildRequest, nowMs: number): BuildPlan {
  const { generation: _generation, ...like } = live;
  const ownSet = request.kind === "regenerate";
  const embedding = request.embedding ?? live.embedding;
  const vectors = ownSet ? freeVectorSet(store) : live.vectors;
  if (vectors === undefined)
    throw unavailable("vectors of earlier generations are being removed", { retryAfterMs: 1_000 });
  const row = {
    ...like,
    ...request.shape,
    embedding,
    embeddingId: embeddingId(embedding),
    vectors,
    createdAtMs: nowMs,
  };
  if (row.scalar === "i8" && row.metric !== "cos")
    throw invalidArgument([
      { field: "index_config.scalar", description: `i8 goes with metric cos only, not ${row.metric}` },
    ]);
  const shape = { ...row, dimensions: embedding.dimensions };
  return { row, ownSet, predictedBytes: indexMemoryBytes(shape, readState(store).chunks) };
}

/** @throws INDEX_MEMORY_LIMIT */
export async function assertMemory({ predictedBytes }: BuildPlan, memory: MemoryLimit): Promise<void> {
  const { limitBytes } = memory;
  const used = await memory.makeRoom(predictedBytes);
  if (predictedBytes + used <= limitBytes) return;
  throw new ArrwError(
    "FAILED_PRECONDITION",
    `the new index needs about ${predictedBytes} bytes of memory beside the ${used} of loaded indexes; ` +
      `the limit is ${limitBytes} (ARRW_INDEX_MEMORY_LIMIT_BYTES)`,
    {
      reason: "INDEX_MEMORY_LIMIT",
      metadata: {
        predicted_bytes: String(predictedBytes),
        used_bytes: String(used),
        limit_bytes: String(limitBytes),
      },
    },
  );
}
