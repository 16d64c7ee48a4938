import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { DocumentInput } from "../../client/import-stream.ts";

/** A seeded generator of numbers in [0, 1): mulberry32. The same seed gives the same test. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const NODE_MODULES = fileURLToPath(new URL("../../node_modules", import.meta.url));
const MIN_CHARACTERS = 30;
const MAX_CHARACTERS = 900;
const MAX_TEXTS = 3;

/** Real prose and code comments that every clone has: paragraphs of the installed packages, each once, in order. */
export function realParagraphs(limit: number): string[] {
  const paragraphs = new Set<string>();
  const visit = (folder: string): void => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      if (paragraphs.size >= limit) return;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (/\.(md|[cm]?ts)$/i.test(entry.name))
        for (const each of paragraphsOf(path)) paragraphs.add(each);
    }
  };
  visit(NODE_MODULES);
  return [...paragraphs].slice(0, limit);
}

function paragraphsOf(path: string): string[] {
  return readFileSync(path, "utf8")
    .split(/\n\s*\n/)
    .map((text) => text.replace(/\s+/g, " ").trim())
    .filter((text) => text.length >= MIN_CHARACTERS && text.length <= MAX_CHARACTERS);
}

/** Documents of one to three paragraphs, each shorter than a chunk, so that each text is one chunk. */
export function realDocuments(count: number, seed: number): DocumentInput[] {
  const random = seededRandom(seed);
  const paragraphs = realParagraphs(count * MAX_TEXTS);
  if (paragraphs.length < count)
    throw new Error(`only ${paragraphs.length} paragraphs for ${count} documents`);
  let next = 0;
  return Array.from({ length: count }, (_, ordinal) => {
    const left = paragraphs.length - next - (count - ordinal - 1);
    const take = Math.min(left, 1 + Math.floor(random() * MAX_TEXTS));
    const texts = paragraphs.slice(next, next + take);
    next += take;
    return { documentId: `doc-${String(ordinal).padStart(6, "0")}`, title: `Document ${ordinal}`, texts };
  });
}
