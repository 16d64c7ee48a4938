import { TEXT_HASH_BYTES, textHash } from "../../platform/embedding/text-hash.ts";
import type { GenerationRow, Store } from "./store.ts";

/**
 * Which chunk has a text, by the text's hash: so that a text that was embedded isn't paid for again. One chunk is known
 * for a text, the one that was written last; a vector that a client brought itself counts as its text's.
 */

/** Providers whose vectors cost next to nothing, or are not of texts. */
const NOT_REMEMBERED: ReadonlySet<string> = new Set(["hashing", "none"]);

/** Whether chunks of the generation are remembered by their texts. */
export function remembersTexts({ embedding }: Pick<GenerationRow, "embedding">): boolean {
  return !NOT_REMEMBERED.has(embedding.provider);
}

/** Inside the transaction that writes the chunk, or its vector. */
export function rememberText(store: Store, key: number, text: string): void {
  store.hashes.put(textHash(text), key);
}

/** Whether there is anything to forget: looked at once a transaction, it spares the hashing. */
export function hasTexts(store: Store): boolean {
  return store.hashes.getKeysCount({ limit: 1 }) > 0;
}

/** Inside the transaction that removes the chunk, before it. */
export function forgetText(store: Store, key: number): void {
  const text = store.chunks.get(key)?.[2];
  if (text === undefined) return;
  const hash = textHash(text);
  if (store.hashes.get(hash) === key) store.hashes.remove(hash);
}

/**
 * Vectors that texts have already in an embedding: in the live generation, in the one before it, or in one that is
 * being built.
 * @param hashes of the texts @param except name of a set of vectors that isn't looked into
 * @param maxBytes of vectors in all: what is beyond isn't found
 * @returns packed vectors by place in `hashes`
 */
export function lookUpEmbeddings(
  store: Store,
  embeddingId: string,
  hashes: readonly Buffer[],
  { except, maxBytes = Number.POSITIVE_INFINITY }: { readonly except?: string; readonly maxBytes?: number },
): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  const rows = [...store.generations.getRange()].map(({ value }) => value);
  const fitting = rows.filter((row) => row.embeddingId === embeddingId && row.vectors !== except);
  const sets = [...new Set(fitting.map(({ vectors }) => vectors))].map((name) => store.vectors(name));
  if (sets.length === 0) return found;
  let bytes = 0;
  for (const [place, hash] of hashes.entries()) {
    const key = store.hashes.get(hash);
    if (key === undefined) continue;
    for (const set of sets) {
      const vector = set.get(key);
      if (!vector) continue;
      bytes += vector.length;
      if (bytes > maxBytes) return found;
      found.set(place, vector);
      break;
    }
  }
  return found;
}

/** The hashes that stand one after the other in `bytes`. */
export function splitHashes(bytes: Buffer): Buffer[] {
  return Array.from({ length: bytes.length / TEXT_HASH_BYTES }, (_, n) =>
    bytes.subarray(n * TEXT_HASH_BYTES, (n + 1) * TEXT_HASH_BYTES),
  );
}
