import { createHash, randomBytes } from "node:crypto";
import { z } from "zod";

/**
 * The file of API keys, which the gateway reads and `arrw keys` writes: who each key is for, and SHA-256 of the keys. A
 * key is 32 random bytes, not something that a person has thought of: nobody can try all of them, so a fast hash
 * without a salt keeps it as secret as a slow one would, and costs 2 us a call instead of 100 ms.
 */

const PREFIX = "arrw_";
const KEY_BYTES = 32;
const MAX_KEYS = 1_000;

export const API_KEY_ROLES = ["viewer", "submitter", "admin"] as const;
export type ApiKeyRole = (typeof API_KEY_ROLES)[number];

const name = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}$/, '1..100 characters of A-Z, a-z, 0-9, "_", ".", "@" and "-"');
const libraryPattern = z
  .string()
  .regex(
    /^([A-Za-z0-9][A-Za-z0-9_.-]{0,127}\*?|\*)$/,
    "expected a library's id, or the beginning of ids with *",
  );
const role = z.enum(API_KEY_ROLES, `expected one of ${API_KEY_ROLES.join(", ")}`);

const apiKey = z.strictObject({
  /** Of whoever has the key, for logs and limits. */
  name,
  role,
  /** Ids of the libraries that exist for it, a trailing * standing for whatever follows; unset = all. */
  libraries: z.array(libraryPattern).min(1, "at least one, or leave it out for all").max(1_000).optional(),
  /** Hex, the oldest key first; two while a key is replaced by another. */
  sha256: z
    .array(z.string().regex(/^[0-9a-f]{64}$/, "expected 64 hex digits"))
    .min(1)
    .max(2),
  /** RFC 3339; unset = never. */
  expires_at: z.iso.datetime({ offset: true, message: "expected a time as 2026-01-31T00:00:00Z" }).optional(),
});
const apiKeyFile = z.strictObject({ keys: z.array(apiKey).max(MAX_KEYS) });

export type ApiKey = z.infer<typeof apiKey>;
export type ApiKeyFile = z.infer<typeof apiKeyFile>;

/** A message for each thing that is wrong, none with a part of the file's text. */
export class ApiKeyFileError extends Error {
  constructor(problems: readonly string[]) {
    super(problems.join("; "));
    this.name = "ApiKeyFileError";
  }
}

/** @throws ApiKeyFileError naming everything that is wrong */
export function parseApiKeyFile(text: string): ApiKeyFile {
  const parsed = apiKeyFile.safeParse(parseJson(text));
  if (!parsed.success) {
    throw new ApiKeyFileError(
      parsed.error.issues.map(({ path, message }) => `${pathText(path)}: ${message}`),
    );
  }
  const { keys } = parsed.data;
  const problems = [
    ...repeated(keys.map((key) => key.name)).map((at) => `keys[${at}].name: an earlier key has it, too`),
    ...(repeated(keys.flatMap(({ sha256 }) => sha256)).length > 0
      ? ["keys: a hash is there twice: give each its own key"]
      : []),
  ];
  if (problems.length > 0) throw new ApiKeyFileError(problems);
  return parsed.data;
}

export function formatApiKeyFile(file: ApiKeyFile): string {
  return `${JSON.stringify(file, undefined, 2)}\n`;
}

/** A new one; it is nowhere else, and can't be got again from its hash. */
export function newApiKey(): string {
  return PREFIX + randomBytes(KEY_BYTES).toString("base64url");
}

/** Has it the form of an API key? */
export function isApiKey(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** SHA-256. */
export function hashApiKey(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The message of the engine quotes the text.
    const place = /position \d+/.exec(String(error))?.[0];
    throw new ApiKeyFileError([`it is no JSON${place === undefined ? "" : ` (${place})`}`]);
  }
}

function pathText(path: readonly PropertyKey[]): string {
  const text = path.map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`)).join("");
  return text.replace(/^\./, "") || "file";
}

/** Where values stand that stand before, too. */
function repeated(values: readonly string[]): number[] {
  return values.flatMap((value, at) => (values.indexOf(value) < at ? [at] : []));
}
