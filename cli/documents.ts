import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { v5 as uuidv5 } from "uuid";
import type { DocumentInput } from "../client/index.ts";
import { bytes } from "./format.ts";
import { readNdjson } from "./ndjson.ts";

/** Where `arrw import` takes documents from. */

/** Namespace of the namespaces of libraries; any fixed UUID would do. */
const ARRW_NAMESPACE = "6f4bd1a4-3c8c-5d0c-9a3e-0b1f6a2c7d55";

/** The id of a file's document: the same in every import of that path into that library. */
export function documentId(libraryId: string, path: string): string {
  return uuidv5(path, uuidv5(libraryId, ARRW_NAMESPACE));
}

/** Larger files leave no room in a document for anything else. */
export const MAX_FILE_BYTES = 3_900_000;
const TEXT_EXTENSIONS: ReadonlySet<string> = new Set([".md", ".markdown", ".txt"]);
const LICENCE = /^(licen[cs]e|copying|notice)([-_.][\w.-]*)?$/i;

/** Markdown and plain text by extension, and licence files without one: LICENSE, COPYING, LICENSE-MIT. */
export function isTextFile(name: string): boolean {
  const extension = extname(name).toLowerCase();
  return (
    TEXT_EXTENSIONS.has(extension) || (LICENCE.test(name) && (extension === "" || /^\.\d/.test(extension)))
  );
}

export interface SourceOptions {
  readonly libraryId: string;
  /** Told of each file that is left out, with the reason. */
  readonly onSkipped: (path: string, reason: string) => void;
}

/**
 * Documents of a folder, a text file, an NDJSON file, or stdin ("-", NDJSON), read as they are taken.
 * @throws Error "<source>: <why>"
 */
export async function documentsFrom(
  source: string,
  options: SourceOptions,
): Promise<AsyncIterable<DocumentInput>> {
  if (source === "-") return readNdjson(process.stdin, "stdin");
  const found = await stat(source).catch(() => undefined);
  if (!found) throw new Error(`${source}: no such file or folder`);
  if (found.isDirectory()) return folderDocuments(source, options);
  if (isTextFile(basename(source))) return fileDocuments(source, [basename(source)], true, options);
  if (/\.(ndjson|jsonl)$/i.test(source)) return readNdjson(createReadStream(source), source);
  throw new Error(`${source}: expected a folder, an .ndjson, .md or .txt file, or "-" for NDJSON from stdin`);
}

async function* folderDocuments(folder: string, options: SourceOptions): AsyncGenerator<DocumentInput> {
  yield* fileDocuments(folder, textFiles(folder), false, options);
}

/** Paths relative to the folder, with "/", sorted in each folder. Hidden ones, node_modules and links are left out. */
export async function* textFiles(folder: string, below = ""): AsyncGenerator<string> {
  const entries = await readdir(join(folder, below), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory()) yield* textFiles(folder, path);
    else if (entry.isFile() && isTextFile(entry.name)) yield path;
  }
}

async function* fileDocuments(
  root: string,
  paths: AsyncIterable<string> | Iterable<string>,
  single: boolean,
  { libraryId, onSkipped }: SourceOptions,
): AsyncGenerator<DocumentInput> {
  for await (const path of paths) {
    const file = single ? root : join(root, path);
    const { size } = await stat(file);
    if (size > MAX_FILE_BYTES) {
      onSkipped(path, `${bytes(size)}, more than ${bytes(MAX_FILE_BYTES)}`);
      continue;
    }
    const document = textDocument(libraryId, path, await readFile(file));
    if (typeof document === "string") onSkipped(path, document);
    else yield document;
  }
}

/** A file's document, or why there is none. */
export function textDocument(libraryId: string, path: string, content: Uint8Array): DocumentInput | string {
  if (content.includes(0)) return "it is not text";
  const text = new TextDecoder().decode(content);
  if (text.trim() === "") return "it is empty";
  return { documentId: documentId(libraryId, path), title: path, texts: [text] };
}
