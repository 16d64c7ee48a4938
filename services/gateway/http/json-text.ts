import { ArrwError } from "../../../platform/errors.ts";
import { isObject, type JsonObject } from "./json-shape.ts";

/** JSON as the HTTP door takes it: what JSON.parse lets pass in silence is refused. */

/** Metadata may be 32 levels deep, a few levels down in a document in a request. */
const MAX_LEVELS = 64;
/** 100,000 documents have fewer. */
const MAX_PARTS = 2_000_000;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** A copy of such an object has another prototype. */
const FORBIDDEN_KEY = "__proto__";

/**
 * The object that the bytes are as JSON.
 * @throws ArrwError INVALID_ARGUMENT: not UTF-8, malformed, a key twice in one object, "__proto__" as a key, more than
 * 64 levels or 2,000,000 keys, objects and arrays, anything but an object; `what` names the text in the message
 */
export function parseJsonObject(bytes: Uint8Array, what = "the body"): JsonObject {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw malformed(`${what} is not UTF-8`);
  }
  // First, as it is bounded: millions of empty objects take JSON.parse seconds.
  checkStructure(text, what);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw malformed(`${what} is not JSON: ${error instanceof Error ? error.message.slice(0, 200) : ""}`);
  }
  if (!isObject(value)) throw malformed(`${what} is JSON, but not an object`);
  return value;
}

function malformed(message: string): ArrwError {
  return new ArrwError("INVALID_ARGUMENT", message, { reason: "MALFORMED_JSON" });
}

/** The levels, keys, objects and arrays of a text that may be JSON. */
function checkStructure(text: string, what: string): void {
  /** The keys so far of each open object, undefined where there are none. */
  const open: (Set<string> | undefined)[] = [];
  let parts = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = endOfString(text, at);
      if (isKey(text, end)) {
        parts += 1;
        const keys = open.at(-1) ?? new Set();
        addKey(keys, text.slice(at, end + 1), what);
        if (open.length > 0) open[open.length - 1] = keys;
      }
      at = end;
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      parts += 1;
      open.push(undefined);
      if (open.length > MAX_LEVELS) throw malformed(`${what} is more than ${MAX_LEVELS} levels deep`);
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      open.pop();
    }
    if (parts > MAX_PARTS) throw malformed(`${what} has more than 2,000,000 keys, objects and arrays`);
  }
}

/** Where the string that begins at `start` has its closing quote; the text's end where it has none. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

function isKey(text: string, endOfIt: number): boolean {
  let next = endOfIt + 1;
  while (text.charCodeAt(next) <= 0x20) next += 1;
  return text.charCodeAt(next) === COLON;
}

function addKey(keys: Set<string>, written: string, what: string): void {
  const key = written.includes("\\") ? unescaped(written) : written.slice(1, -1);
  if (key === FORBIDDEN_KEY) throw malformed(`${what} has a key "${FORBIDDEN_KEY}"`);
  if (keys.has(key)) {
    throw malformed(`${what} has the key ${JSON.stringify(key.slice(0, 100))} twice in one object`);
  }
  keys.add(key);
}

/** What is no JSON string is left to JSON.parse to say. */
function unescaped(written: string): string {
  try {
    return JSON.parse(written);
  } catch {
    return written;
  }
}
