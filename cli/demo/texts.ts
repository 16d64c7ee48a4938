import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { textFiles } from "../import/files.ts";

/** Real text that every clone has: Markdown and licences of the repository and of the packages it is built on. */

export interface Text {
  /** Relative to the repository. */
  readonly path: string;
  readonly text: string;
}

const MAX_TEXTS = 400;
const MAX_TEXT_BYTES = 150_000;
const MAX_BYTES = 4_000_000;
const LEAST_TEXTS = 50;

/**
 * At most 400 texts and 4 MB, evenly taken from all, in the order of their paths: the same every time.
 * @throws Error when there are fewer than 50
 */
export async function demoTexts(): Promise<Text[]> {
  const root = repositoryRoot();
  const paths: string[] = [];
  for await (const path of textFiles(root)) paths.push(path);
  const packages = join(root, "node_modules");
  if (existsSync(packages)) for await (const path of textFiles(packages)) paths.push(`node_modules/${path}`);
  const texts: Text[] = [];
  let left = MAX_BYTES;
  for (const path of evenly(paths, MAX_TEXTS)) {
    const { size } = await stat(join(root, path));
    if (size > MAX_TEXT_BYTES || size > left) continue;
    const content = await readFile(join(root, path));
    const text = content.toString("utf8");
    // Not all that is called a text is UTF-8.
    if (text.trim() === "" || !content.equals(Buffer.from(text))) continue;
    texts.push({ path, text });
    left -= size;
  }
  if (texts.length < LEAST_TEXTS) {
    throw new Error(`found only ${texts.length} texts below ${root}: run npm ci first`);
  }
  return texts;
}

/** At most `most` of them, at equal distances. */
export function evenly<T>(all: readonly T[], most: number): T[] {
  if (all.length <= most) return [...all];
  return Array.from({ length: most }, (_, i) => all[Math.floor((i * all.length) / most)] as T);
}

function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json")) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}
