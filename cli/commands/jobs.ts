import type { Command } from "commander";
import { type ArrwClient, isTerminal, type Job } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { registerDownload } from "../download.ts";
import { UsageError } from "../failure.ts";
import { count, duration, roughly, table } from "../format.ts";
import { registerChanges } from "../job-changes.ts";
import { type FilterOptions, hasFilter, jobFilter, withFilterOptions } from "../job-filter.ts";
import { registerItems } from "../job-items.ts";
import { registerLogs } from "../job-logs.ts";
import { registerSubmit } from "../job-submit.ts";
import { jobDetails, percentText, runningMs, statusText } from "../job-text.ts";
import { toJson } from "../json.ts";
import { note, paint, print, printJson } from "../terminal.ts";
import { hasTerminal, MOST_WATCHED, watchBoard } from "../watch-board.ts";
import { watchToTheEnd } from "../watch-job.ts";
import { watchAll } from "../watch-jobs.ts";

interface ListOptions extends ClientCommandOptions, FilterOptions {
  readonly limit: number;
}

export function register(program: Command): void {
  const jobs = program
    .command("jobs")
    .description("submit, list, show, watch, cancel, retry and delete jobs");
  withFilterOptions(withClientOptions(jobs.command("list")))
    .description("jobs, newest first")
    .option("--limit <n>", "jobs shown at most", integer, 20)
    .action(list);
  withClientOptions(jobs.command("get <job>")).description("one job").action(get);
  withFilterOptions(withClientOptions(jobs.command("watch [jobs...]")))
    .description("watch jobs until they end, or all that match for as long as you like; Ctrl-C detaches")
    .option("--all", "all jobs; the default when none is named")
    .option("--after <cursor>", "all jobs: go on behind this event's cursor (see --json)")
    .action(watch);
  registerSubmit(jobs);
  registerLogs(jobs);
  registerItems(jobs);
  registerDownload(jobs);
  registerChanges(jobs);
}

async function list(options: ListOptions): Promise<void> {
  if (options.limit < 1) throw new UsageError("--limit: at least 1");
  await withClient(options, async (client) => {
    const { jobs, total } = await firstJobs(client, options);
    if (options.json) {
      for (const job of jobs) printJson(toJson(job));
      return;
    }
    if (jobs.length === 0) return print("no jobs");
    const names = await libraryNames(client);
    print(...jobTable(jobs, names, Date.now()));
    if (total !== undefined && total > BigInt(jobs.length)) {
      note(paint("dim", `${count(jobs.length)} of ${count(total)}; more with --limit`, process.stderr));
    }
  });
}

async function firstJobs(
  client: ArrwClient,
  options: ListOptions,
): Promise<{ jobs: Job[]; total: bigint | undefined }> {
  const filter = jobFilter(options);
  const jobs: Job[] = [];
  let pageToken = "";
  let total: bigint | undefined;
  do {
    const pageSize = Math.min(options.limit - jobs.length, 1_000);
    const page = await client.list({ filter, pageSize, pageToken });
    jobs.push(...page.jobs);
    total ??= page.totalSize;
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && jobs.length < options.limit);
  return { jobs, total };
}

/** Names by id; without those of libraries that are gone. */
async function libraryNames(client: ArrwClient): Promise<Map<string, string>> {
  const { libraries } = await client.listLibraries({ pageSize: 1_000 });
  return new Map(libraries.map(({ libraryId, name }) => [libraryId, name]));
}

export function jobTable(jobs: readonly Job[], names: ReadonlyMap<string, string>, nowMs: number): string[] {
  const rows = jobs.map((job) => {
    const ran = runningMs(job, nowMs);
    return [
      job.jobId,
      job.cancelRequested && !isTerminal(job) ? "cancelling" : statusText(job),
      job.type,
      names.get(job.libraryId) ?? (job.libraryId || "-"),
      percentText(job),
      job.itemCount > 0n ? count(job.itemCount) : "-",
      ran === undefined ? "-" : duration(ran),
      job.createdAt ? `${roughly(nowMs - job.createdAt.getTime())} ago` : "",
    ];
  });
  const headings = ["JOB", "STATUS", "TYPE", "LIBRARY", "DONE", "DOCUMENTS", "RAN FOR", "SUBMITTED"];
  const [first = "", ...others] = table(headings, rows);
  return [paint("dim", first), ...others];
}

async function get(jobId: string, options: ClientCommandOptions): Promise<void> {
  await withClient(options, async (client) => {
    const job = await client.get(jobId);
    if (options.json) printJson(toJson(job));
    else {
      const library = job.libraryId && (await client.getLibrary(job.libraryId).catch(() => undefined));
      print(...jobDetails(job, library ? library.name : undefined, Date.now()));
    }
  });
}

type WatchOptions = ClientCommandOptions &
  FilterOptions & { readonly after?: string; readonly all?: boolean };

async function watch(jobIds: string[], options: WatchOptions): Promise<void> {
  const { after, all, json } = options;
  const named = jobIds.length > 0;
  if (named && (hasFilter(options) || all || after !== undefined)) {
    throw new UsageError(
      "--status, --type, --library, --label, --since, --until, --all and --after are for jobs that aren't named",
    );
  }
  if (jobIds.length > MOST_WATCHED) throw new UsageError(`at most ${MOST_WATCHED} jobs at a time`);
  await withClient(options, (client) => {
    const [only] = jobIds;
    if (only !== undefined && jobIds.length === 1) return watchToTheEnd(client, only, options);
    if (named) return watchBoard(client, { jobIds }, options);
    const filter = jobFilter(options);
    if (json || after !== undefined || !hasTerminal()) return watchAll(client, filter, options);
    return watchBoard(client, { filter }, options);
  });
}
