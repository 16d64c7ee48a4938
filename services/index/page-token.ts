import { invalidArgument } from "../../platform/errors.ts";

/** Where a list goes on: opaque to callers, and useless for another list. */

export function pageToken(list: string, after: string): string {
  return Buffer.from(JSON.stringify([list, after])).toString("base64url");
}

/** @returns what `pageToken` was given; "" for "" @throws INVALID_ARGUMENT when it is not a token of this list */
export function readPageToken(list: string, token: string): string {
  if (token === "") return "";
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString());
    if (Array.isArray(value) && value.length === 2 && value[0] === list && typeof value[1] === "string")
      return value[1];
  } catch {
    // Not JSON: not a token.
  }
  throw invalidArgument([{ field: "page_token", description: "not a token of this list" }]);
}
