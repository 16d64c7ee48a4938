import { createHash } from "node:crypto";
import { invalidArgument } from "../../platform/errors.ts";
import { patternsOf, type Selection } from "./selection.ts";

/** Where the next page begins; opaque to clients. */
export interface PageToken {
  /** The page has jobs below this id only. */
  readonly before: string;
  /** What the first page counted, where that is not known without counting. */
  readonly total: number | undefined;
}

const VERSION = 2;

export function formatToken({ before, total }: PageToken, filter: Selection | undefined): string {
  const parts = [VERSION, before, fingerprint(filter), total ?? null];
  return Buffer.from(JSON.stringify(parts)).toString("base64url");
}

/** @throws ArrwError INVALID_ARGUMENT when the token is not one of ours, or is another filter's */
export function parseToken(token: string, filter: Selection | undefined): PageToken {
  const [version, before, owner, total] = partsOf(token);
  if (version !== VERSION || typeof before !== "string") {
    const description = "must be the next_page_token of the page before; got something else";
    throw invalidArgument([{ field: "page_token", description }]);
  }
  if (owner !== fingerprint(filter)) {
    throw invalidArgument([{ field: "page_token", description: "belongs to a list with another filter" }]);
  }
  return { before, total: typeof total === "number" && Number.isSafeInteger(total) ? total : undefined };
}

function partsOf(token: string): unknown[] {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    return Array.isArray(parsed) ? parsed : [];
  } catch {
    return [];
  }
}

function fingerprint(filter: Selection | undefined): string {
  const {
    statuses = [],
    types = [],
    libraryId = "",
    labels = {},
    createdAfter,
    createdBefore,
  } = filter ?? {};
  const parts = [
    [...statuses].sort(),
    [...types].sort(),
    libraryId,
    Object.entries(labels).sort(),
    createdAfter?.getTime() ?? null,
    createdBefore?.getTime() ?? null,
    // So that one who sees less doesn't go on with what another has counted.
    ...[...patternsOf(filter)].sort(),
  ];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url").slice(0, 12);
}
