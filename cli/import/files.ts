import { readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";

/** Files of a folder, and what their names say of them. */

export const FORMATS = ["ndjson", "json", "csv", "text", "html"] as const;
export type Format = (typeof FORMATS)[number];

const EXTENSIONS: Readonly<Record<string, Format>> = {
  ".md": "text",
  ".markdown": "text",
  ".txt": "text",
  ".html": "html",
  ".htm": "html",
  ".xhtml": "html",
  ".ndjson": "ndjson",
  ".jsonl": "ndjson",
  ".json": "json",
  ".csv": "csv",
  ".tsv": "csv",
};
const LICENCE = /^(licen[cs]e|copying|notice)([-_.][\w.-]*)?$/i;

/** Of a file's name, with or without .gz; undefined = none that is known. LICENSE, COPYING, LICENSE-MIT are text. */
export function kindOf(name: string): Format | undefined {
  const bare = name.replace(/\.gz$/i, "");
  const extension = extname(bare).toLowerCase();
  const known = EXTENSIONS[extension];
  if (known) return known;
  return LICENCE.test(bare) && (extension === "" || /^\.\d/.test(extension)) ? "text" : undefined;
}

/** Markdown, plain text and licences, not packed. */
export function isTextFile(name: string): boolean {
  return kindOf(name) === "text" && !/\.gz$/i.test(name);
}

/** Paths relative to the folder, with "/", sorted in each folder. Hidden ones, node_modules and links are left out. */
export async function* files(folder: string, below = ""): AsyncGenerator<string> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* files(folder, path);
    else if (entry.isFile()) yield path;
  }
}

/** The text files among them. */
export async function* textFiles(folder: string): AsyncGenerator<string> {
  for await (const path of files(folder)) if (isTextFile(basename(path))) yield path;
}
