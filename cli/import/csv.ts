import { pipeline, Readable } from "node:stream";
import { parse } from "csv-parse";
import type { DocumentInput } from "../../client/index.ts";
import { UsageError } from "../failure.ts";
import { documentOf } from "./document-json.ts";
import { text } from "./encoding.ts";

/** Of one row, or of one document's rows. */
const MAX_DOCUMENT_CHARACTERS = 32_000_000;

export interface CsvOptions {
  /** Default ",". */
  readonly delimiter?: string;
}

interface Row {
  readonly record: Readonly<Record<string, string>>;
  readonly line: number;
}

/**
 * Documents of a table whose first row names its columns: text, or texts (a JSON array); document_id, title, author,
 * tags, source_url, metadata, embedding; every other one becomes a field of the metadata. With a column chunk, rows that
 * follow each other with the same document_id are one document, as `arrw export --format csv` writes them.
 * @throws UsageError "<source>, line <n>: <what is wrong>"
 */
export async function* readCsv(
  input: AsyncIterable<Uint8Array>,
  source: string,
  { delimiter = "," }: CsvOptions = {},
): AsyncGenerator<DocumentInput> {
  let group: Row[] = [];
  let size = 0;
  for await (const row of rows(input, source, delimiter)) {
    const [first] = group;
    const { record } = row;
    const goesOn =
      record.chunk !== undefined &&
      record.document_id !== "" &&
      first?.record.document_id === record.document_id;
    if (first && !goesOn) {
      yield documentFrom(group, source);
      group = [];
      size = 0;
    }
    group.push(row);
    size += record.text?.length ?? 0;
    if (size > MAX_DOCUMENT_CHARACTERS) {
      throw new UsageError(
        `${source}, line ${row.line}: a document longer than ${MAX_DOCUMENT_CHARACTERS} characters`,
      );
    }
  }
  if (group.length > 0) yield documentFrom(group, source);
}

async function* rows(
  input: AsyncIterable<Uint8Array>,
  source: string,
  delimiter: string,
): AsyncGenerator<Row> {
  const parser = parse({
    columns: (header: string[]) => columnsOf(header, source),
    delimiter,
    skip_empty_lines: true,
    max_record_size: MAX_DOCUMENT_CHARACTERS,
    info: true,
  });
  pipeline(Readable.from(text(input, source)), parser, () => undefined);
  try {
    for await (const { info, record } of parser as AsyncIterable<{
      info: { lines: number };
      record: Record<string, string>;
    }>) {
      yield { record, line: info.lines };
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const { lines, message } = error as Error & { readonly lines?: number };
    throw new UsageError(`${source}${lines === undefined ? "" : `, line ${lines}`}: ${message}`, error);
  }
}

function columnsOf(header: readonly string[], source: string): string[] {
  const names = header.map((name) => name.trim());
  const lower = names.map((name) => (KNOWN.has(name.toLowerCase()) ? name.toLowerCase() : name));
  const twice = lower.find((name, i) => lower.indexOf(name) !== i);
  if (twice !== undefined) throw new UsageError(`${source}: two columns are named ${JSON.stringify(twice)}`);
  if (!lower.includes("text") && !lower.includes("texts")) {
    const shown = lower.slice(0, 10).map((name) => JSON.stringify(name));
    throw new UsageError(
      `${source}: no column named text or texts; the first row names them: ${shown.join(", ")}. Another --delimiter?`,
    );
  }
  return lower;
}

const KNOWN: ReadonlySet<string> = new Set([
  "document_id",
  "chunk",
  "title",
  "author",
  "tags",
  "source_url",
  "metadata",
  "text",
  "texts",
  "embedding",
]);

function documentFrom(group: readonly Row[], source: string): DocumentInput {
  const [{ record, line }] = group as [Row];
  const where = `${source}, line ${line}`;
  const json = (column: string): unknown => {
    try {
      return JSON.parse(record[column] ?? "");
    } catch (error) {
      throw new UsageError(`${where}: ${column}: ${(error as Error).message}`, error);
    }
  };
  const vectors = group.map((row) => row.record.embedding ?? "").filter((each) => each !== "");
  const others = Object.entries(record).filter(
    ([name, value]) => !KNOWN.has(name) && name !== "" && value !== "",
  );
  const metadata = {
    ...(record.metadata ? (json("metadata") as object) : {}),
    ...Object.fromEntries(others.map(([name, value]) => [name, scalarOf(value)])),
  };
  const { document_id = "", title = "", author = "", source_url = "", tags = "", texts = "" } = record;
  const whole = texts.trimStart().startsWith("[") ? (json("texts") as string[]) : [texts];
  const chunks = group.map((row) => row.record.text ?? "");
  return documentOf(
    {
      document_id,
      title,
      author,
      source_url,
      tags: tags.trimStart().startsWith("[") ? json("tags") : listOf(tags),
      texts: texts === "" ? chunks : [...chunks.filter((chunk) => chunk !== ""), ...whole],
      ...(Object.keys(metadata).length > 0 ? { metadata } : {}),
      ...(vectors.length > 0 ? { vectors: vectors.map((each) => vectorOf(each, where)) } : {}),
    },
    where,
  );
}

function vectorOf(typed: string, where: string): unknown {
  try {
    return JSON.parse(typed);
  } catch (error) {
    throw new UsageError(`${where}: embedding: ${(error as Error).message}`, error);
  }
}

/** "a, b; c" */
function listOf(typed: string): string[] {
  return typed
    .split(/[,;]/)
    .map((each) => each.trim())
    .filter((each) => each !== "");
}

/** A number that is written as JSON would, true and false are what they look like; "007" is a text. */
function scalarOf(typed: string): unknown {
  if (typed === "true" || typed === "false") return typed === "true";
  return typed !== "" && String(Number(typed)) === typed && Number.isFinite(Number(typed))
    ? Number(typed)
    : typed;
}
