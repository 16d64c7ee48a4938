import { createHash } from "node:crypto";

export const TEXT_HASH_BYTES = 16;

/** What names a text wherever vectors are remembered: the first 16 bytes of the SHA-256 of its UTF-8. */
export function textHash(text: string): Buffer {
  return createHash("sha256").update(text).digest().subarray(0, TEXT_HASH_BYTES);
}
