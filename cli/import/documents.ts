import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";
import { type CsvOptions, readCsv } from "./csv.ts";
import { type EncodingOptions, readable } from "./encoding.ts";
import { FORMATS, type Format, files, kindOf } from "./files.ts";
import { readJson } from "./json.ts";
import { readNdjson } from "./ndjson.ts";
import { fileDocument, textDocument } from "./text-file.ts";

/** Where `arrw import` takes documents from. */

export interface SourceOptions extends EncodingOptions, CsvOptions {
  readonly libraryId: string;
  /** Default: by the file's name; of stdin ndjson. */
  readonly format?: Format;
  /** Told of each file that is left out, with the reason. */
  readonly onSkipped: (path: string, reason: string) => void;
  /** Told of each file of a folder that is none of documents. */
  readonly onOther: (path: string) => void;
}

/**
 * Documents of folders, files, or stdin ("-"), read as they are taken.
 * @throws UsageError "<source>: <why>"
 */
export async function* documentsFrom(
  sources: readonly string[],
  options: SourceOptions,
): AsyncGenerator<DocumentInput> {
  for (const source of sources) yield* await openSource(source, options);
}

/** So that one that isn't there is known before any is read. @throws UsageError */
export async function checkSources(
  sources: readonly string[],
  options: Pick<SourceOptions, "format">,
): Promise<void> {
  if (sources.filter((source) => source === "-").length > 1)
    throw new UsageError("-: stdin can be read once");
  for (const source of sources) {
    if (source === "-") continue;
    const found = await stat(source).catch(() => undefined);
    if (!found) throw new UsageError(`${source}: no such file or folder`);
    if (!found.isDirectory() && !formatOf(source, options)) throw new UsageError(`${source}: ${UNKNOWN}`);
  }
}

const UNKNOWN = `what is in it? say --format ${FORMATS.join(", ")}`;

async function openSource(source: string, options: SourceOptions): Promise<AsyncIterable<DocumentInput>> {
  if (source === "-") return parsed(process.stdin, "stdin", options.format ?? "ndjson", options);
  const found = await stat(source).catch(() => undefined);
  if (!found) throw new UsageError(`${source}: no such file or folder`);
  if (found.isDirectory()) return folderDocuments(source, options);
  const format = formatOf(source, options);
  if (!format) throw new UsageError(`${source}: ${UNKNOWN}`);
  if (format === "text" || format === "html") return oneFile(source, format, options);
  const delimiter = /\.tsv(\.gz)?$/i.test(source) ? { delimiter: "\t" } : {};
  return parsed(createReadStream(source), source, format, { ...delimiter, ...options });
}

function formatOf(source: string, { format }: Pick<SourceOptions, "format">): Format | undefined {
  return format ?? kindOf(basename(source));
}

function parsed(
  input: AsyncIterable<Uint8Array>,
  source: string,
  format: Format,
  options: SourceOptions,
): AsyncIterable<DocumentInput> {
  switch (format) {
    case "ndjson":
      return readNdjson(readable(input, source, options), source);
    case "json":
      return readJson(readable(input, source, options), source);
    case "csv":
      return readCsv(readable(input, source, options), source, options);
    default:
      return oneText(input, source, format, options);
  }
}

async function* oneText(
  input: AsyncIterable<Uint8Array>,
  source: string,
  format: "text" | "html",
  options: SourceOptions,
): AsyncGenerator<DocumentInput> {
  const document = await textDocument(options, source, format, input);
  if (typeof document === "string") options.onSkipped(source, document);
  else yield document;
}

async function* oneFile(
  file: string,
  format: "text" | "html",
  options: SourceOptions,
): AsyncGenerator<DocumentInput> {
  const document = await fileDocument(options, file, basename(file), format);
  if (typeof document === "string") options.onSkipped(file, document);
  else yield document;
}

async function* folderDocuments(folder: string, options: SourceOptions): AsyncGenerator<DocumentInput> {
  for await (const path of files(folder)) {
    const kind = kindOf(basename(path));
    if (kind === "ndjson" || kind === "csv") {
      options.onSkipped(path, "it has documents of its own: import it by its name");
    } else if (kind === "text" || kind === "html") {
      const document = await fileDocument(options, `${folder}/${path}`, path, kind);
      if (typeof document === "string") options.onSkipped(path, document);
      else yield document;
    } else options.onOther(path);
  }
}
