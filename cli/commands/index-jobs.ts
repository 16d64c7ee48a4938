import type { Command } from "commander";
import type { ArrwClient, Job, SubmitOptions } from "../../client/index.ts";
import { decimal, integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { toJson } from "../json.ts";
import { type RunOptions, runOptions, withRunOptions } from "../run-options.ts";
import { print, printJson } from "../terminal.ts";
import { nextCommands, watchToTheEnd } from "../watch-job.ts";
import { libraryDetails } from "./library.ts";

interface Options extends ClientCommandOptions, RunOptions {
  readonly watch?: boolean;
}

interface RebuildOptions extends Options {
  readonly type?: string;
  readonly metric?: string;
  readonly scalar?: string;
  readonly connectivity?: number;
  readonly expansionAdd?: number;
  readonly expansionSearch?: number;
  readonly minRecall?: number;
}

interface RegenerateOptions extends Options {
  readonly provider?: string;
  readonly model?: string;
  readonly dimensions?: number;
  readonly minRecall?: number;
}

export function register(program: Command): void {
  const index = program
    .command("index")
    .description("build a library's index anew, beside the live one: searches and writes go on");
  withJobOptions(index.command("rebuild <library>"))
    .description("with another type or other parameters; what is left out stays as it is")
    .option("--type <name>", "hnsw or flat")
    .option("--metric <name>", "cos, ip or l2sq")
    .option("--scalar <name>", "f32, f16, bf16 or i8")
    .option("--connectivity <n>", "edges of a node (M), 2..128", integer)
    .option("--expansion-add <n>", "candidates when adding, 1..10000", integer)
    .option("--expansion-search <n>", "candidates when searching, 1..10000", integer)
    .option("--min-recall <share>", MIN_RECALL, decimal)
    .action(rebuild);
  withJobOptions(index.command("optimize <library>"))
    .description("without removed vectors, if there are any")
    .action(optimize);
  withJobOptions(index.command("regenerate <library>"))
    .description("embed all chunks anew; without options with the same embedding")
    .option("--provider <name>", "who embeds: hashing, openai or cohere; default: the library's")
    .option("--model <name>", "the provider's model")
    .option("--dimensions <n>", "length of every vector, 1..16384", integer)
    .option("--min-recall <share>", MIN_RECALL, decimal)
    .action(regenerate);
  withClientOptions(index.command("rollback <library>"))
    .description("go back to the generation before the last swap; what was written since stays")
    .action(rollback);
}

const MIN_RECALL = "recall@10 below which nothing is swapped, 0..1; default 0.95";

function withJobOptions(command: Command): Command {
  return withRunOptions(withClientOptions(command))
    .option("-w, --watch", "watch the job until it ends; the default")
    .option("--no-watch", "only submit it");
}

function rebuild(library: string, options: RebuildOptions): Promise<void> {
  const { type, metric, scalar, connectivity, expansionAdd, expansionSearch, minRecall } = options;
  const indexConfig = {
    metric: metric ?? "",
    scalar: scalar ?? "",
    connectivity: connectivity ?? 0,
    expansionAdd: expansionAdd ?? 0,
    expansionSearch: expansionSearch ?? 0,
  };
  const wanted = { indexType: type ?? "", indexConfig, minRecall: minRecall ?? 0 };
  return submit(options, (client, job) => client.rebuildIndex(library, { ...job, ...wanted }));
}

function optimize(library: string, options: Options): Promise<void> {
  return submit(options, (client, job) => client.optimizeIndex(library, job));
}

function regenerate(library: string, options: RegenerateOptions): Promise<void> {
  const { provider, model, dimensions, minRecall = 0 } = options;
  const unchanged = provider === undefined && model === undefined && dimensions === undefined;
  return submit(options, async (client, job) => {
    if (unchanged) return client.regenerateEmbeddings(library, { ...job, minRecall });
    const { embedding: live } = await client.getLibrary(library);
    // What isn't said stays as it is, unless another provider makes it meaningless.
    const same = provider === undefined || provider === live?.provider;
    const embedding = {
      provider: provider ?? live?.provider ?? "",
      model: model ?? (same ? (live?.model ?? "") : ""),
      dimensions: dimensions ?? (same && model === undefined ? (live?.dimensions ?? 0) : 0),
    };
    return client.regenerateEmbeddings(library, { ...job, minRecall, embedding });
  });
}

async function submit(
  options: Options,
  send: (client: ArrwClient, job: SubmitOptions) => Promise<Job>,
): Promise<void> {
  await withClient(options, async (client) => {
    const job = await send(client, runOptions(options));
    if (options.watch !== false) return watchToTheEnd(client, job.jobId, options);
    if (options.json) printJson(toJson(job));
    else print(`job ${job.jobId}`, ...nextCommands(job.jobId, options.address));
  });
}

async function rollback(library: string, options: ClientCommandOptions): Promise<void> {
  const now = await withClient(options, (client) => client.rollbackGeneration(library));
  if (options.json) printJson(toJson(now));
  else print(...libraryDetails(now));
}
