import type { Command } from "commander";
import type { Condition, Document } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { withDocumentFilter } from "../document-filter.ts";
import { UsageError } from "../failure.ts";
import { count, cut, fields, plain, plural, shortened, table } from "../format.ts";
import { toJson } from "../json.ts";
import { paint, print, printJson, width } from "../terminal.ts";

interface ListOptions extends ClientCommandOptions {
  readonly filter?: readonly Condition[];
  readonly limit: number;
  readonly texts?: boolean;
}

type GetOptions = ClientCommandOptions & { readonly vectors?: boolean };

const DEFAULT_LIMIT = 20;

export function register(program: Command): void {
  const document = program.command("document").description("list, show and delete documents");
  withDocumentFilter(withClientOptions(document.command("list <library>")))
    .description("documents, by id")
    .option("--limit <n>", "documents shown at most", integer, DEFAULT_LIMIT)
    .option("--texts", "with their chunks")
    .action(list);
  withClientOptions(document.command("get <library> <document>"))
    .description("one document with its chunks")
    .option("--vectors", "with the chunks' vectors; for --json")
    .action(get);
  withClientOptions(document.command("delete <library> <document>"))
    .description("delete a document at once; many: arrw delete, a job")
    .action(remove);
}

async function list(library: string, options: ListOptions): Promise<void> {
  const { filter, limit, texts: includeTexts = false, json = false } = options;
  if (limit < 1) throw new UsageError("--limit: at least 1");
  await withClient(options, async (client) => {
    const shown: Document[] = [];
    let number = 0;
    const which = filter ? { filter: { all: [...filter] } } : {};
    const pageSize = Math.min(limit, 1_000);
    for await (const document of client.documents(library, { ...which, includeTexts, pageSize })) {
      if (number === limit) {
        if (!json) shown.push(document);
        break;
      }
      number += 1;
      if (json) printJson(toJson(document));
      else shown.push(document);
    }
    if (json) return;
    if (shown.length === 0) return print("no documents");
    print(...documentTable(shown.slice(0, limit), includeTexts, width()));
    if (shown.length > limit) print(paint("dim", `the first ${count(limit)}; more with --limit`));
  });
}

/** A row a document; with texts their beginnings. */
export function documentTable(documents: readonly Document[], withTexts: boolean, columns: number): string[] {
  const rows = documents.map(({ documentId, title, author, tags, texts }) => {
    const own = [
      plain(documentId),
      shortened(title, 40),
      shortened(author, 24),
      shortened(tags.join(", "), 24),
    ];
    return withTexts ? [...own, plural(texts.length, "chunk"), shortened(texts.join(" "), 40)] : own;
  });
  const headings = ["DOCUMENT", "TITLE", "AUTHOR", "TAGS", ...(withTexts ? ["CHUNKS", "TEXT"] : [])];
  const [head = "", ...others] = table(headings, rows);
  return [paint("dim", cut(head, columns)), ...others.map((line) => cut(line, columns))];
}

async function get(library: string, documentId: string, options: GetOptions): Promise<void> {
  const { vectors: includeVectors = false } = options;
  const found = await withClient(options, (client) =>
    client.getDocument(library, documentId, { includeVectors }),
  );
  if (options.json) printJson(toJson(found));
  else print(...documentDetails(found));
}

export function documentDetails({
  documentId,
  title,
  author,
  tags,
  sourceUrl,
  metadata,
  texts,
}: Document): string[] {
  const known = metadata && Object.keys(metadata).length > 0 ? JSON.stringify(metadata) : undefined;
  return [
    paint("bold", plain(documentId)),
    ...fields([
      ["title", plain(title) || undefined],
      ["author", plain(author) || undefined],
      ["tags", tags.length > 0 ? plain(tags.join(", ")) : undefined],
      ["source", plain(sourceUrl) || undefined],
      ["metadata", known && plain(known)],
      ["chunks", count(texts.length)],
    ]),
    // Lines of a text stay lines; nothing in it steers the terminal.
    ...texts.flatMap((text) => ["", ...text.split(/\r?\n/).map((line) => plain(line))]),
  ];
}

async function remove(library: string, documentId: string, options: ClientCommandOptions): Promise<void> {
  await withClient(options, (client) => client.deleteDocument(library, documentId));
  if (options.json) printJson({ document_id: documentId, deleted: true });
  else print(`${plain(documentId)} deleted`);
}
