import { type Command, Option } from "commander";
import type { ArrwClient, DocumentInput, ImportOptions, Job } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { timeoutOf } from "../connection-options.ts";
import { Failure, UsageError } from "../failure.ts";
import { bytes, count, plain, plural } from "../format.ts";
import { checkSources, documentsFrom } from "../import/documents.ts";
import { FORMATS, type Format } from "../import/files.ts";
import { LeftOut } from "../import/left-out.ts";
import { toJson } from "../json.ts";
import { type RunOptions, runOptions, withRunOptions } from "../run-options.ts";
import { note, print, printJson } from "../terminal.ts";
import { nextCommands, untilInterrupted, watchToTheEnd } from "../watch-job.ts";

interface Options extends ClientCommandOptions, RunOptions {
  readonly watch?: boolean;
  readonly dryRun?: boolean;
  readonly format?: Format;
  readonly delimiter?: string;
  readonly encoding?: string;
  readonly chunkSize?: number;
  readonly chunkOverlap?: number;
}

export function register(program: Command): void {
  withRunOptions(withClientOptions(program.command("import <library> <sources...>")))
    .description(
      "import folders, files, or stdin (-): text, Markdown, HTML, NDJSON, JSON, CSV; each also as gzip",
    )
    .option("-w, --watch", "watch the job until it ends")
    .option("--dry-run", "show what would be sent, and send nothing")
    .addOption(
      new Option("--format <format>", "what the files are; default: by their names, of stdin ndjson").choices(
        FORMATS,
      ),
    )
    .option("--delimiter <character>", "of CSV; default a comma, of .tsv a tab")
    .option(
      "--encoding <name>",
      "of the files, as windows-1252; default utf-8, or utf-16 where they are marked so",
    )
    .option("--chunk-size <n>", "characters of a chunk at most; default 1000", integer)
    .option("--chunk-overlap <n>", "characters repeated of the chunk before; default 100", integer)
    .addHelpText("after", HELP)
    .action(run);
}

const HELP = `
A folder gives its .md, .txt and .html files and licences, by path: importing it again replaces them. Hidden files,
node_modules and links are left out. A line of NDJSON is a document, and so is each object of an array in JSON:
  {"document_id": "...", "title": "...", "texts": ["..."], "metadata": {}, "author": "...", "tags": [],
   "source_url": "...", "vectors": [[...]]}
Only texts is needed. The first row of CSV names its columns: text (or texts, an array in JSON), and if you have them
document_id, title, author, tags (a, b), source_url, metadata (JSON), embedding (JSON); others become metadata.`;

async function run(library: string, sources: string[], options: Options): Promise<void> {
  await checkSources(sources, options);
  if (options.delimiter?.length === 0) throw new UsageError("--delimiter: a character");
  await withClient(options, async (client) => {
    const { libraryId } = await client.getLibrary(library);
    const leftOut = new LeftOut();
    const documents = documentsFrom(sources, { ...given(options), libraryId, ...leftOut.listeners });
    try {
      if (options.dryRun) return await show(documents, options.json ?? false);
      const job = await send(client, libraryId, documents, sources, options);
      if (!options.json) print(`${plural(job.itemCount, "document")} sent, job ${job.jobId}`);
      note(...leftOut.takeLines());
      if (options.watch) return await watchToTheEnd(client, job.jobId, options);
      if (options.json) printJson(toJson(job));
      else print(...nextCommands(job.jobId, options.address));
    } finally {
      note(...leftOut.takeLines());
      // Reading it on would keep the process alive.
      if (sources.includes("-")) process.stdin.destroy();
    }
  });
}

function given({ format, delimiter, encoding }: Options) {
  return {
    ...(format === undefined ? {} : { format }),
    // As shells make it hard to type.
    ...(delimiter === undefined ? {} : { delimiter: delimiter === "\\t" ? "\t" : delimiter }),
    ...(encoding === undefined ? {} : { encoding }),
  };
}

async function send(
  client: ArrwClient,
  libraryId: string,
  documents: AsyncIterable<DocumentInput>,
  sources: readonly string[],
  options: Options,
): Promise<Job> {
  const meter = sendMeter();
  try {
    return await untilInterrupted(async (signal) => {
      try {
        return await client.importDocuments(libraryId, documents, {
          ...importOptions(options),
          signal,
          onSent: meter.show,
        });
      } catch (error) {
        if (signal.aborted) throw new Failure("stopped; nothing was submitted", { cause: error });
        throw error;
      } finally {
        meter.close();
      }
    });
  } catch (error) {
    if (noDocument(error)) throw new UsageError(`${sources.join(", ")}: no documents to import`, error);
    throw error;
  }
}

function noDocument(error: unknown): boolean {
  const violations = (error as { violations?: readonly { field: string; description: string }[] }).violations;
  return (
    violations?.some(({ field, description }) => field === "document" && / 0$/.test(description)) ?? false
  );
}

function importOptions(options: Options): ImportOptions {
  const { chunkSize, chunkOverlap } = options;
  const timeoutMs = timeoutOf(options);
  return {
    ...runOptions(options),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(chunkSize === undefined ? {} : { chunkSize }),
    ...(chunkOverlap === undefined ? {} : { chunkOverlap }),
  };
}

/** Each document in a line, and what all of them are. */
async function show(documents: AsyncIterable<DocumentInput>, json: boolean): Promise<void> {
  let number = 0;
  let size = 0;
  for await (const { documentId = "", title = "", texts = [], vectors = [] } of documents) {
    const textBytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    number += 1;
    size += textBytes;
    if (json)
      printJson({
        document_id: documentId,
        title,
        texts: texts.length,
        bytes: textBytes,
        vectors: vectors.length,
      });
    else
      print(
        [plain(title || documentId) || "(no title)", plural(texts.length, "text"), bytes(textBytes)].join(
          "  ",
        ),
      );
  }
  if (!json) print(`${plural(number, "document")}, ${bytes(size)} of text; nothing was sent`);
}

const METER_INTERVAL_MS = 200;

/** On a terminal: how many documents were sent, on one line that goes away. */
function sendMeter(): { show(documents: number): void; close(): void } {
  if (process.stderr.isTTY !== true) return { show: () => undefined, close: () => undefined };
  let shownAtMs = Number.NEGATIVE_INFINITY;
  return {
    show: (documents) => {
      if (performance.now() - shownAtMs < METER_INTERVAL_MS) return;
      shownAtMs = performance.now();
      process.stderr.write(`\r\u001b[2Ksending  ${count(documents)} documents`);
    },
    close: () => {
      process.stderr.write("\r\u001b[2K");
    },
  };
}
