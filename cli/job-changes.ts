import { createInterface } from "node:readline";
import type { Command } from "commander";
import { type ArrwClient, isTerminal, JobStatus, type WhichJobs } from "../client/index.ts";
import { type ClientCommandOptions, toFailure, withClient, withClientOptions } from "./connection.ts";
import { UsageError } from "./failure.ts";
import { count, plural } from "./format.ts";
import { type FilterOptions, hasFilter, jobFilter, withFilterOptions } from "./job-filter.ts";
import { statusText } from "./job-text.ts";
import { type Json, toJson } from "./json.ts";
import { reportLines } from "./report.ts";
import { note, print, printJson } from "./terminal.ts";

/** `arrw jobs cancel|retry|delete`: of jobs that are named, or of all that match. */

interface ChangeOptions extends ClientCommandOptions, FilterOptions {
  readonly all?: boolean;
  readonly yes?: boolean;
  readonly reason?: string;
  readonly fromCheckpoint?: boolean;
  readonly failedItems?: boolean;
}

interface Changed {
  readonly changedJobs: bigint;
  readonly skippedJobs: bigint;
  readonly hasMore: boolean;
}

interface Change {
  readonly name: string;
  /** "cancelled" */
  readonly done: string;
  /** Of jobs in another status nothing is changed. */
  readonly statuses: readonly JobStatus[];
  one(client: ArrwClient, jobId: string, options: ChangeOptions): Promise<{ text: string; json: Json }>;
  many(client: ArrwClient, which: WhichJobs, options: ChangeOptions): Promise<Changed>;
}

const { JOB_STATUS_COMPLETED, JOB_STATUS_FAILED, JOB_STATUS_CANCELLED } = JobStatus;
const ENDED = [JOB_STATUS_COMPLETED, JOB_STATUS_FAILED, JOB_STATUS_CANCELLED];
const NOT_ENDED = [
  JobStatus.JOB_STATUS_SCHEDULED,
  JobStatus.JOB_STATUS_BLOCKED,
  JobStatus.JOB_STATUS_PENDING,
  JobStatus.JOB_STATUS_RUNNING,
];
/** Jobs of one call: it takes a few seconds at most. */
const CHUNK = 5_000;
const COUNT_TIMEOUT_MS = 120_000;

const CANCEL: Change = {
  name: "cancel",
  done: "cancelled or told to stop",
  statuses: NOT_ENDED,
  one: async (client, jobId, { reason }) => {
    const job = await client.cancel(jobId, reason === undefined ? {} : { reason });
    const text = isTerminal(job) ? statusText(job) : "cancelling: its handler has been told to stop";
    return { text, json: toJson(job) };
  },
  many: (client, which, { reason }) => client.cancelJobs(which, reason === undefined ? {} : { reason }),
};

const RETRY: Change = {
  name: "retry",
  done: "to run again",
  statuses: [JOB_STATUS_FAILED, JOB_STATUS_CANCELLED],
  one: async (client, jobId, { fromCheckpoint = false, failedItems = false }) => {
    const job = await client.retry(jobId, { fromCheckpoint, failedItemsOnly: failedItems });
    return { text: `runs again, ${statusText(job)}`, json: toJson(job) };
  },
  many: (client, which, { fromCheckpoint = false }) => client.retryJobs(which, { fromCheckpoint }),
};

const DELETE: Change = {
  name: "delete",
  done: "deleted",
  statuses: ENDED,
  one: async (client, jobId) => {
    await client.delete(jobId);
    return { text: "deleted", json: { job_id: jobId, deleted: true } };
  },
  many: (client, which) => client.deleteJobs(which),
};

/** Adds them to `arrw jobs`. */
export function registerChanges(jobs: Command): void {
  command(jobs, CANCEL)
    .description("end jobs; what they have done stays")
    .option("--reason <text>", "why, for people");
  command(jobs, RETRY)
    .description("run ended jobs again; of those that match, failed and cancelled ones")
    .option("--from-checkpoint", "go on where they stopped instead of from the start")
    .option("--failed-items", "only the items that failed, of imports and deletions that are named");
  command(jobs, DELETE).description("remove ended jobs with their input, log and request id");
}

function command(jobs: Command, change: Change): Command {
  return withFilterOptions(withClientOptions(jobs.command(`${change.name} [jobs...]`)))
    .option("--all", "all jobs, or all that match")
    .option("-y, --yes", "without asking, when no job is named")
    .action(async (jobIds: string[], options: ChangeOptions) => {
      const filtered = hasFilter(options);
      if (jobIds.length > 0 && (filtered || options.all))
        throw new UsageError("name jobs, or say which match; not both");
      if (options.failedItems && jobIds.length === 0) throw new UsageError("--failed-items: name the jobs");
      if (options.failedItems && options.fromCheckpoint) {
        throw new UsageError("--failed-items and --from-checkpoint: one of the two");
      }
      if (jobIds.length === 0 && !filtered && !options.all) {
        throw new UsageError("which jobs? name them, or say --status, --type, --library, --label or --all");
      }
      await withClient(options, (client) =>
        jobIds.length > 0
          ? changeNamed(client, change, jobIds, options)
          : changeMatching(client, change, options),
      );
    });
}

async function changeNamed(
  client: ArrwClient,
  change: Change,
  jobIds: readonly string[],
  options: ChangeOptions,
): Promise<void> {
  for (const jobId of jobIds) {
    try {
      const { text, json } = await change.one(client, jobId, options);
      if (options.json) printJson(json);
      else print(jobIds.length > 1 ? `${jobId}  ${text}` : text);
    } catch (error) {
      if (jobIds.length === 1) throw error;
      // The others are changed all the same.
      const failure = await toFailure(client, error);
      note(...reportLines(failure, { json: options.json ?? false, command: undefined }));
      process.exitCode ||= failure.exitCode;
    }
  }
}

async function changeMatching(client: ArrwClient, change: Change, options: ChangeOptions): Promise<void> {
  const filter = narrowed(change, options);
  const matching = filter ? await countOf(client, filter) : 0;
  if (!filter || matching === 0) {
    if (options.json) printJson({ changed_jobs: 0, skipped_jobs: 0 });
    else print("no jobs match");
    return;
  }
  if (!options.yes && !(await confirmed(change, matching))) {
    note("nothing was changed");
    process.exitCode = 1;
    return;
  }
  let [changed, skipped] = [0, 0];
  // Those that match by the time they are reached may be more: a job that fails again, one that is new.
  for (let more = true; more && changed + skipped < matching; ) {
    const limit = Math.min(CHUNK, matching - changed - skipped);
    const reply = await change.many(client, { filter, all: true, limit }, options).catch((error: unknown) => {
      if (changed > 0) note(`${plural(changed, "job")} ${change.done} so far`);
      throw error;
    });
    changed += Number(reply.changedJobs);
    skipped += Number(reply.skippedJobs);
    more = reply.hasMore && reply.changedJobs > 0n;
  }
  if (options.json) printJson({ changed_jobs: changed, skipped_jobs: skipped });
  else {
    const others = skipped > 0 ? `, ${count(skipped)} left alone: changed meanwhile` : "";
    print(`${plural(changed, "job")} ${change.done}${others}`);
  }
}

type Filter = ReturnType<typeof jobFilter>;

/** Only jobs that the change can be made of; undefined = there can be none. */
function narrowed(change: Change, options: ChangeOptions): Filter | undefined {
  const asked = options.status;
  // Completed jobs run again only when they are asked for.
  const possible = change === RETRY && asked?.includes(JOB_STATUS_COMPLETED) ? ENDED : change.statuses;
  const statuses = asked ? possible.filter((status) => asked.includes(status)) : [...possible];
  return statuses.length > 0 ? { ...jobFilter(options), statuses } : undefined;
}

/** Exact; without a total the jobs themselves are counted. */
async function countOf(client: ArrwClient, filter: Filter): Promise<number> {
  const { totalSize } = await client.list({ filter, pageSize: 1 });
  if (totalSize !== undefined) return Number(totalSize);
  let matching = 0;
  for await (const _job of client.jobs(filter, { timeoutMs: COUNT_TIMEOUT_MS })) matching += 1;
  return matching;
}

async function confirmed(change: Change, matching: number): Promise<boolean> {
  const what = `${change.name} ${plural(matching, "job")}`;
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true) {
    throw new UsageError(`this would ${what}: say --yes`);
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await new Promise<string>((resolve) => {
    // Ctrl-C and Ctrl-D are a no, too.
    terminal.once("SIGINT", () => resolve(""));
    terminal.once("close", () => resolve(""));
    terminal.question(`${what}? [y/N] `, resolve);
  });
  terminal.close();
  return /^y(es)?$/i.test(answer.trim());
}
