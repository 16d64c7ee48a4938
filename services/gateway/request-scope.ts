import { createHash } from "node:crypto";
import type { Principal } from "./domain/principal.ts";

const HASH_CHARACTERS = 22;

/**
 * Whose request_ids and concurrency_keys these are: clients confined to the same libraries share theirs, and meet those of
 * no others. "" = not confined.
 */
export function requestScope({ libraries }: Principal): string {
  if (libraries === undefined) return "";
  const patterns = JSON.stringify([...new Set(libraries)].sort());
  return createHash("sha256").update(patterns).digest("base64url").slice(0, HASH_CHARACTERS);
}
