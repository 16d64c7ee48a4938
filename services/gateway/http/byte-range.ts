import parseRange from "range-parser";

/** Range requests (RFC 9110) on a file whose ETag is strong. */

export interface ByteRange {
  readonly start: number;
  /** Inclusive. */
  readonly end: number;
}

/**
 * What of the file is asked for: "all" (no Range, one that is not understood, or several: the RFC lets a server ignore
 * them), "none" (416), or a range.
 */
export function rangeOf(
  size: number,
  etag: string,
  headers: { readonly range?: string | undefined; readonly ifRange?: string | undefined },
): ByteRange | "all" | "none" {
  const { range, ifRange } = headers;
  if (range === undefined) return "all";
  // Another file than the client has begun with; a date is never ours.
  if (ifRange !== undefined && ifRange.trim() !== etag) return "all";
  const suffix = /^bytes=-(\d+)$/.exec(range.trim());
  // The last n bytes of a file that has fewer are all of them.
  if (suffix && Number(suffix[1]) >= size && size > 0 && Number(suffix[1]) > 0)
    return { start: 0, end: size - 1 };
  const parsed = parseRange(size, range);
  if (parsed === -1) return "none";
  if (parsed === -2 || parsed.type !== "bytes" || parsed.length !== 1) return "all";
  return parsed[0] ?? "all";
}

/** Whether If-None-Match names the file: compared weakly, as the RFC has it. */
export function isKnown(etag: string, ifNoneMatch: string | undefined): boolean {
  if (ifNoneMatch === undefined) return false;
  const known = ifNoneMatch.split(",").map((each) => each.trim().replace(/^W\//, ""));
  return known.includes("*") || known.includes(etag);
}
