import type { Document } from "../../../../proto/gen/arrwdb/v1/document.ts";
import { checkVector, type LibraryShape } from "./vector.ts";
import type { Violations } from "./violations.ts";

const MAX_DOCUMENT_ID_BYTES = 512;
const MAX_TITLE_BYTES = 4_096;
const MAX_AUTHOR_BYTES = 1_024;
const MAX_URL_BYTES = 4_096;
const MAX_TEXTS = 10_000;
const MAX_TAGS = 256;
const MAX_TAG_BYTES = 256;
const MAX_METADATA_LEVELS = 32;
const MAX_METADATA_BYTES = 65_536;

/** `library` undefined: it is not known, so what depends on it is not checked. */
export function checkDocument(
  path: string,
  document: Document,
  library: LibraryShape | undefined,
  violations: Violations,
): void {
  violations.maxBytes(`${path}.document_id`, document.documentId, MAX_DOCUMENT_ID_BYTES);
  violations.maxBytes(`${path}.title`, document.title, MAX_TITLE_BYTES);
  violations.maxBytes(`${path}.author`, document.author, MAX_AUTHOR_BYTES);
  violations.maxBytes(`${path}.source_url`, document.sourceUrl, MAX_URL_BYTES);
  checkTexts(path, document.texts, violations);
  checkTags(path, document.tags, violations);
  if (document.metadata) checkMetadata(`${path}.metadata`, document.metadata, violations);
  checkVectors(path, document, library, violations);
}

function checkTexts(path: string, texts: readonly string[], violations: Violations): void {
  if (texts.length === 0) violations.add(`${path}.texts`, "at least one; got 0");
  violations.maxItems(`${path}.texts`, texts.length, MAX_TEXTS);
  for (const [index, text] of texts.entries()) {
    if (text === "") violations.add(`${path}.texts[${index}]`, "not empty; got an empty text");
  }
}

function checkTags(path: string, tags: readonly string[], violations: Violations): void {
  violations.maxItems(`${path}.tags`, tags.length, MAX_TAGS);
  for (const [index, tag] of tags.slice(0, MAX_TAGS).entries()) {
    if (tag === "") violations.add(`${path}.tags[${index}]`, "not empty; got an empty tag");
    violations.maxBytes(`${path}.tags[${index}]`, tag, MAX_TAG_BYTES);
  }
}

function checkVectors(
  path: string,
  document: Document,
  library: LibraryShape | undefined,
  violations: Violations,
): void {
  const { texts, vectors } = document;
  if (vectors.length === 0) {
    if (library?.provider === "none") {
      violations.add(`${path}.vectors`, `one for each text, the library's provider is none; got 0`);
    }
    return;
  }
  if (vectors.length !== texts.length) {
    violations.add(`${path}.vectors`, `none or one for each of ${texts.length} texts; got ${vectors.length}`);
  }
  for (const [index, vector] of vectors.entries()) {
    if (violations.full) return;
    checkVector(`${path}.vectors[${index}]`, vector, library, violations);
  }
}

function checkMetadata(path: string, metadata: object, violations: Violations): void {
  const levels = [{ value: metadata as unknown, path, level: 1 }];
  let bytes = 0;
  for (let next = levels.pop(); next; next = levels.pop()) {
    const { value, level } = next;
    bytes += 4;
    if (typeof value === "string") bytes += Buffer.byteLength(value);
    else if (typeof value === "number") {
      bytes += 8;
      if (!Number.isFinite(value)) violations.add(next.path, `a finite number; got ${value}`);
    } else if (typeof value === "object" && value !== null) {
      if (level > MAX_METADATA_LEVELS) {
        violations.add(next.path, `at most ${MAX_METADATA_LEVELS} levels deep; got more`);
        return;
      }
      for (const [key, child] of Object.entries(value)) {
        bytes += Buffer.byteLength(key) + 4;
        levels.push({ value: child, path: `${next.path}.${key.slice(0, 100)}`, level: level + 1 });
      }
    }
    if (bytes > MAX_METADATA_BYTES) {
      violations.add(path, "at most 65,536 bytes; got more");
      return;
    }
  }
}
