import type { Command } from "commander";
import type { ArrwClient, ImportOptions, Job } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { documentsFrom } from "../documents.ts";
import { count, plain, plural } from "../format.ts";
import { toJson } from "../json.ts";
import { type RunOptions, runOptions, withRunOptions } from "../run-options.ts";
import { note, print, printJson } from "../terminal.ts";
import { nextCommands, untilInterrupted, watchToTheEnd } from "../watch-job.ts";

interface Options extends ClientCommandOptions, RunOptions {
  readonly watch?: boolean;
  readonly chunkSize?: number;
  readonly chunkOverlap?: number;
}

export function register(program: Command): void {
  withRunOptions(withClientOptions(program.command("import <library> <source>")))
    .description("import a folder, a text file, an NDJSON file, or NDJSON from stdin (-)")
    .option("-w, --watch", "watch the job until it ends")
    .option("--chunk-size <n>", "characters of a chunk at most; default 1000", integer)
    .option("--chunk-overlap <n>", "characters repeated of the chunk before; default 100", integer)
    .addHelpText("after", HELP)
    .action(run);
}

const HELP = `
A folder gives its .md and .txt files and licences, by path: importing it again replaces them. Hidden files,
node_modules and links are left out. A line of NDJSON is a document:
  {"document_id": "...", "title": "...", "texts": ["..."], "metadata": {}, "author": "...", "tags": [],
   "source_url": "...", "vectors": [[...]]}
Only texts is needed.`;

async function run(library: string, source: string, options: Options): Promise<void> {
  await withClient(options, async (client) => {
    const job = await send(client, library, source, options);
    if (options.watch) return watchToTheEnd(client, job.jobId, options);
    if (options.json) printJson(toJson(job));
    else print(...nextCommands(job.jobId, options.address));
  });
}

async function send(client: ArrwClient, library: string, source: string, options: Options): Promise<Job> {
  const { libraryId } = await client.getLibrary(library);
  const skipped: string[] = [];
  const onSkipped = (path: string, reason: string): void => {
    skipped.push(`skipped ${plain(path)}: ${reason}`);
  };
  const documents = await documentsFrom(source, { libraryId, onSkipped });
  const meter = sendMeter();
  const job = await untilInterrupted(async (signal) => {
    try {
      return await client.importDocuments(libraryId, documents, {
        ...importOptions(options),
        signal,
        onSent: meter.show,
      });
    } catch (error) {
      if (signal.aborted) throw new Error("stopped; nothing was submitted", { cause: error });
      throw error;
    } finally {
      meter.close();
      // Reading it on would keep the process alive.
      if (source === "-") process.stdin.destroy();
    }
  }).catch((error: unknown) => {
    note(...skipped);
    if (noDocument(error)) throw new Error(`${source}: no documents to import`, { cause: error });
    throw error;
  });
  note(...skipped);
  if (!options.json) print(`${plural(job.itemCount, "document")} sent, job ${job.jobId}`);
  return job;
}

function noDocument(error: unknown): boolean {
  const violations = (error as { violations?: readonly { field: string; description: string }[] }).violations;
  return (
    violations?.some(({ field, description }) => field === "document" && / 0$/.test(description)) ?? false
  );
}

function importOptions(options: Options): ImportOptions {
  const { chunkSize, chunkOverlap } = options;
  return {
    ...runOptions(options),
    ...(chunkSize === undefined ? {} : { chunkSize }),
    ...(chunkOverlap === undefined ? {} : { chunkOverlap }),
  };
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
