import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Library as LibraryMessage } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { readPrevious } from "./build-rows.ts";
import type { LibraryRow } from "./catalog.ts";
import type { Generation } from "./generation.ts";
import { readSnapshot, readState, type Store } from "./store.ts";

/**
 * A library as clients see it.
 * @param building the generation that is being built @param folder the library's own
 */
export async function libraryMessage(
  { id, name, createdAtMs }: LibraryRow,
  store: Store,
  { row, index }: Generation,
  building: number | undefined,
  folder: string,
): Promise<LibraryMessage> {
  const { documents, chunks } = readState(store);
  const progress = index?.progress;
  const saved = readSnapshot(store, row.generation);
  const kept = readPrevious(store);
  const previous = kept && kept.expiresAtMs > Date.now() ? kept : undefined;
  const stored = row.indexType === "flat" ? chunks : (saved?.size ?? 0);
  const files = [...store.snapshots.getRange()].reduce((sum, { value }) => sum + value.bytes, 0);
  const { metric, scalar, connectivity, expansionAdd, expansionSearch } = row;
  return {
    libraryId: id,
    name,
    embedding: { ...row.embedding },
    indexType: row.indexType,
    indexConfig: { metric, scalar, connectivity, expansionAdd, expansionSearch },
    generation: BigInt(row.generation),
    documentCount: BigInt(documents),
    chunkCount: BigInt(chunks),
    vectorCount: BigInt(progress?.size ?? stored),
    tombstoneCount: BigInt(progress?.tombstones ?? saved?.tombstones ?? 0),
    diskBytes: BigInt((await storedBytes(folder)) + files),
    memoryBytes: BigInt(progress ? progress.indexBytes + progress.blockBytes : 0),
    createdAt: new Date(createdAtMs),
    previousGeneration: BigInt(previous?.generation ?? 0),
    previousGenerationExpiresAt: previous && new Date(previous.expiresAtMs),
    buildingGeneration: BigInt(building ?? 0),
  };
}

async function storedBytes(folder: string): Promise<number> {
  const { blocks } = await stat(join(folder, "store", "data.mdb"));
  return blocks * 512;
}
