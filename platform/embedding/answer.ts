import { member } from "./protocol.ts";

/** What a provider's answer says. Pure. */

/** What a status other than 2xx means for the call. */
export type Refusal =
  | "rate limited"
  | "unavailable"
  | "unauthorized"
  | "no quota"
  | "not found"
  | "too large"
  | "bad request"
  | "unusable";

const NO_QUOTA_CODE = "insufficient_quota";
const NO_QUOTA = /exceeded your current quota/i;
const TOO_LARGE =
  /too (long|large|many)|context.?length|maximum.{0,40}(length|tokens|size)|max(imum)? (allowed|number)|must have less than|at most|exceeds?\b|token limit|batch.?size|larger than/i;
/** Passing states of servers: time-out, conflict, failed inference, too early. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 424, 425]);

/** @param body of the answer, whole: what matters may stand behind what is shown of it */
export function refusalOf(status: number, body: string): Refusal {
  if (status === 429) return hasNoQuota(body) ? "no quota" : "rate limited";
  // 498 is Cohere's for a token that is blocked.
  if (status === 401 || status === 403 || status === 498) return "unauthorized";
  if (status === 402) return "no quota";
  if (status === 404) return "not found";
  if (status >= 500 || PASSING.has(status)) return "unavailable";
  if (status === 413) return "too large";
  if (status === 400 || status === 422) return TOO_LARGE.test(messageOf(body)) ? "too large" : "bad request";
  return "unusable";
}

/** Ordinary rate limits mention plans and billing too, and pass: only the code or OpenAI's own sentence say that none is left. */
function hasNoQuota(body: string): boolean {
  const error = member(parsedJson(body), "error");
  const named = [member(error, "code"), member(error, "type")].includes(NO_QUOTA_CODE);
  return named || NO_QUOTA.test(messageOf(body));
}

const MAX_COMPLAINT = 300;

/** What an error's body says, on one line of at most 300 characters, without the key; "" = nothing. */
export function complaintOf(body: string, key: string): string {
  const line = messageOf(body);
  return (key === "" ? line : line.replaceAll(key, "***")).slice(0, MAX_COMPLAINT);
}

/** What an error's body says, on one line; it may repeat the key. */
export function messageOf(body: string): string {
  const parsed = parsedJson(body);
  const error = member(parsed, "error");
  const said = [error, member(error, "message"), member(parsed, "message"), member(parsed, "detail")];
  const message = said.find((each) => typeof each === "string") ?? (body.startsWith("<") ? "" : body);
  const code = member(error, "code");
  const text = typeof code === "string" && code !== "" ? `${message} (${code})` : String(message);
  return text.replace(/[\p{C}\s]+/gu, " ").trim();
}

/** undefined = it isn't JSON. */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Why a vector can't be taken; undefined = it was written to `row`. */
export function readVector(vector: unknown, row: Float32Array): string | undefined {
  let length: number;
  if (typeof vector === "string") {
    const bytes = Buffer.from(vector, "base64");
    if (bytes.length % 4 !== 0) return "a vector is not base64 of float32";
    length = bytes.length / 4;
    if (length === row.length) new Uint8Array(row.buffer, row.byteOffset, row.byteLength).set(bytes);
  } else if (Array.isArray(vector)) {
    length = vector.length;
    if (!vector.every((value) => typeof value === "number")) return "a vector has values that are no numbers";
    if (length === row.length) row.set(vector);
  } else return "a vector is neither numbers nor base64";
  if (length !== row.length) return `its vectors have ${length} dimensions, the library's ${row.length}`;
  return row.every((value) => Number.isFinite(value)) ? undefined : "a vector has values that are not finite";
}
