import { createReadStream } from "node:fs";
import { text } from "node:stream/consumers";
import type { Command } from "commander";
import type { Condition, WhichDocuments } from "../../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { withDocumentFilter } from "../document-filter.ts";
import { UsageError } from "../failure.ts";
import { plural } from "../format.ts";
import { toJson } from "../json.ts";
import { type RunOptions, runOptions, withRunOptions } from "../run-options.ts";
import { print, printJson } from "../terminal.ts";
import { nextCommands, watchToTheEnd } from "../watch-job.ts";

interface Options extends ClientCommandOptions, RunOptions {
  readonly watch?: boolean;
  readonly anywhere?: boolean;
  readonly idsFrom?: string;
  readonly filter?: readonly Condition[];
}

export function register(program: Command): void {
  withDocumentFilter(withRunOptions(withClientOptions(program.command("delete [library] [ids...]"))))
    .description("delete documents by id, or all that pass a filter, as a job")
    .option("--anywhere", "ids in whatever library they are; no library is named then")
    .option("--ids-from <file>", "ids from a file, one a line; - for stdin")
    .option("-w, --watch", "watch the job until it ends")
    .addHelpText("after", HELP)
    .action(run);
}

const HELP = `
Fields: document_id, title, author, tags, source_url and metadata.<path>. Ids that aren't there are among the failed items
of the job: arrw jobs items JOB --failed. With --anywhere an id that is in more than one library is not deleted.`;

async function run(named: string | undefined, others: string[], options: Options): Promise<void> {
  const { anywhere = false } = options;
  if (named === undefined && !anywhere) throw new UsageError("which library? name it, or say --anywhere");
  const library = anywhere ? "" : (named ?? "");
  const ids = anywhere && named !== undefined ? [named, ...others] : others;
  if (anywhere && options.filter) throw new UsageError("--filter: in a library that is named");
  const which = await whichDocuments(ids, options);
  await withClient(options, async (client) => {
    const job = await client.deleteDocuments(library, which, runOptions(options));
    if (!options.json) {
      const what = which.filter ? "what passes the filter" : plural(job.itemCount, "document");
      print(`deleting ${what}, job ${job.jobId}`);
    }
    if (options.watch) return watchToTheEnd(client, job.jobId, options);
    if (options.json) printJson(toJson(job));
    else print(...nextCommands(job.jobId, options.address));
  });
}

async function whichDocuments(ids: string[], { idsFrom, filter }: Options): Promise<WhichDocuments> {
  if ([ids.length > 0, idsFrom !== undefined, filter !== undefined].filter(Boolean).length !== 1) {
    throw new UsageError("which documents? name their ids, or say --ids-from or --filter; one of the three");
  }
  if (filter) return { filter: { all: filter } };
  return { documentIds: idsFrom === undefined ? ids : await idsIn(idsFrom) };
}

async function idsIn(file: string): Promise<string[]> {
  const content = await text(file === "-" ? process.stdin : createReadStream(file));
  const ids = content.split(/\r?\n/).filter((line) => line !== "");
  if (ids.length === 0) throw new UsageError(`${file}: no ids`);
  return ids;
}
