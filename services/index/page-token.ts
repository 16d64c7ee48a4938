import { invalidArgument } from "../../platform/errors.ts";

/** Where a list goes on: opaque to callers, and useless for another list. */

export function pageToken(list: string, after: string): string {
  return Buffer.from(`${list}\n${after}`).toString("base64url");
}

/** @returns what `pageToken` was given; "" for "" @throws INVALID_ARGUMENT when it is not a token of this list */
export function readPageToken(list: string, token: string): string {
  if (token === "") return "";
  const text = Buffer.from(token, "base64url").toString();
  if (text.startsWith(`${list}\n`)) return text.slice(list.length + 1);
  throw invalidArgument([{ field: "page_token", description: "not a token of this list" }]);
}
