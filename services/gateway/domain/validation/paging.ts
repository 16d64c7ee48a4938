import type { Violations } from "./violations.ts";

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1_000;
const MAX_TOKEN_CHARACTERS = 4_096;

/** Checks a list's size and token; whether the token is one of the list's own, its owner says. */
export function checkPage(
  page: { readonly pageSize: number; readonly pageToken: string },
  violations: Violations,
): void {
  if (page.pageSize < 0) violations.add("page_size", `0 or more; got ${page.pageSize}`);
  violations.maxCharacters("page_token", page.pageToken, MAX_TOKEN_CHARACTERS);
}

/** What the page holds at most. */
export function pageSizeOf(requested: number): number {
  return requested === 0 ? DEFAULT_PAGE_SIZE : Math.min(requested, MAX_PAGE_SIZE);
}
