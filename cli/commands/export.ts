import { type Command, InvalidArgumentError } from "commander";
import { type ArrwClient, type ExportOptions, type Job, JobStatus } from "../../client/index.ts";
import { withClient, withClientOptions } from "../connection.ts";
import { checkOutput, checkTarget, type DownloadOptions, download } from "../download.ts";
import { endText } from "../job-text.ts";
import { progressView } from "../progress-view.ts";
import { type RunOptions, runOptions, withRunOptions } from "../run-options.ts";
import { note } from "../terminal.ts";
import { downloadCommand, INTERRUPTED, nextCommands, untilInterrupted } from "../watch-job.ts";

type Format = NonNullable<ExportOptions["format"]>;

interface Options extends DownloadOptions, RunOptions {
  readonly format?: Format;
  readonly embeddings?: boolean;
  readonly gzip?: boolean;
}

const FORMATS: readonly Format[] = ["json", "ndjson", "csv"];

export function register(program: Command): void {
  withRunOptions(withClientOptions(program.command("export <library>")))
    .description("all documents of a library, as they are now, in a file")
    .requiredOption("-o, --output <file>", 'where to; "-" = stdout')
    .option("--format <format>", "json, ndjson or csv; default: by the file's name, else json", format)
    .option("--embeddings", "with the chunks' vectors")
    .option("--gzip", "compressed; the default for a file named .gz")
    .addHelpText("after", HELP)
    .action(run);
}

const HELP = `
Exports go on through restarts, and a download that was broken off goes on where it was when the command is given
again as arrw jobs download. An ndjson file can be imported again: with --embeddings the chunks stay as they are;
without, texts up to the import's --chunk-size do, and they are embedded anew.`;

function format(text: string): Format {
  const found = FORMATS.find((each) => each === text);
  if (!found) throw new InvalidArgumentError(`expected ${FORMATS.join(", ")}`);
  return found;
}

async function run(library: string, options: Options): Promise<void> {
  checkOutput(options);
  await withClient(options, async (client) => {
    await checkTarget(options.output);
    const job = await client.exportLibrary(library, exportOptions(options));
    const ended = await watched(client, job.jobId, options);
    if (!ended) return;
    if (ended.status !== JobStatus.JOB_STATUS_COMPLETED) process.exitCode = 1;
    if (process.exitCode === 1 || !options.json) note(endText(ended));
    if (process.exitCode !== 1) await download(client, ended, options);
  });
}

/** The job at its end; undefined = the user has left. */
async function watched(client: ArrwClient, jobId: string, options: Options): Promise<Job | undefined> {
  const view = progressView(options.json ?? false, "export");
  const last = await untilInterrupted(async (signal) => {
    let job: Job | undefined;
    try {
      const onInterrupted = ({ message }: Error): void => view.interrupted(message);
      for await (const next of client.watch(jobId, { signal, onInterrupted })) {
        job = next;
        view.update(next);
      }
      return job;
    } catch (error) {
      if (!signal.aborted) throw error;
      return undefined;
    } finally {
      view.close();
    }
  });
  if (last) return last;
  process.exitCode = INTERRUPTED;
  const fetch = `  fetch it   ${downloadCommand(jobId, options.output, options.address)}`;
  note("", "detached; the job goes on", ...nextCommands(jobId, options.address), fetch);
  return undefined;
}

function exportOptions(options: Options): ExportOptions {
  const { embeddings = false, output } = options;
  const named = nameSays(output);
  return {
    ...runOptions(options),
    format: options.format ?? named.format,
    includeEmbeddings: embeddings,
    gzip: options.gzip ?? named.gzip,
  };
}

/** What a file's name says of what is in it. */
export function nameSays(output: string): { readonly format: Format; readonly gzip: boolean } {
  const [, extension = "", compressed] = /\.(json|ndjson|jsonl|csv)?(\.?gz)?$/i.exec(output) ?? [];
  const name = extension.toLowerCase();
  const format = name === "jsonl" ? "ndjson" : (FORMATS.find((each) => each === name) ?? "json");
  return { format, gzip: compressed !== undefined };
}
