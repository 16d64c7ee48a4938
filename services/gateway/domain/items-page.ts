/** Where a list of items goes on: opaque to clients, and useless for another job's. */

const LIST = "items";

/** @param ordinal first item of the next page */
export function itemsPageToken(jobId: string, ordinal: number): string {
  return Buffer.from(`${LIST}:${jobId}:${ordinal}`).toString("base64url");
}

/** The first item of the page; 0 for "". undefined = it is not a token of this list. */
export function itemsPageStart(jobId: string, token: string): number | undefined {
  if (token === "") return 0;
  const text = Buffer.from(token, "base64url").toString();
  const [list, of, ordinal = "", ...more] = text.split(":");
  if (list !== LIST || of !== jobId || more.length > 0 || !/^\d{1,15}$/.test(ordinal)) return undefined;
  return itemsPageToken(jobId, Number(ordinal)) === token ? Number(ordinal) : undefined;
}
