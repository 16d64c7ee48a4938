import type { Command } from "commander";
import type { GetQueueStatsResponse, Queue } from "../../client/index.ts";
import { integer } from "../arguments.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { count, duration, msOf, table } from "../format.ts";
import { toJson } from "../json.ts";
import { paint, print, printJson } from "../terminal.ts";

export function register(program: Command): void {
  const queue = program.command("queue").description("pause, resume and limit the jobs of a type");
  withClientOptions(queue.command("list"))
    .description("types with jobs or settings")
    .action(async (options: ClientCommandOptions) => {
      const stats = await withClient(options, (client) => client.stats());
      if (options.json) for (const type of stats.byType) printJson(toJson(type));
      else print(...queueLines(stats));
    });
  withClientOptions(queue.command("pause [type]"))
    .description("start no more jobs of a type, or of any; running ones go on")
    .action(async (type: string | undefined, options: ClientCommandOptions) =>
      show(await withClient(options, (client) => client.queues.pause(type)), options),
    );
  withClientOptions(queue.command("resume [type]"))
    .description("start jobs again; without a type those paused by name stay paused")
    .action(async (type: string | undefined, options: ClientCommandOptions) =>
      show(await withClient(options, (client) => client.queues.resume(type)), options),
    );
  withClientOptions(queue.command("limit").argument("<type>").argument("<n>", "", integer))
    .description("jobs of a type that may run at a time; 0 = no limit")
    .action(async (type: string, maxRunning: number, options: ClientCommandOptions) =>
      show(await withClient(options, (client) => client.queues.setLimit(type, maxRunning)), options),
    );
}

function show(queue: Queue, options: ClientCommandOptions): void {
  if (options.json) printJson(toJson(queue));
  else print(queueText(queue));
}

/** "echo: paused, at most 3 at a time" */
export function queueText({ type, paused, maxRunning }: Queue): string {
  const limit = maxRunning > 0 ? `, at most ${count(maxRunning)} at a time` : "";
  return `${type || "all queues"}: ${paused ? "paused" : "running"}${limit}`;
}

export function queueLines({ byType, running, staleSequence }: GetQueueStatsResponse): string[] {
  const all = running || staleSequence !== 0n ? [] : [paint("yellow", "all queues are paused")];
  if (byType.length === 0) return all.length > 0 ? all : ["no jobs wait or run"];
  const rows = byType.map((each) => [
    each.type,
    count(each.pendingJobs),
    count(each.runningJobs),
    each.maxRunning > 0 ? count(each.maxRunning) : "-",
    each.oldestPendingAge ? duration(msOf(each.oldestPendingAge)) : "-",
    each.paused ? "paused" : "",
  ]);
  const [head = "", ...others] = table(["TYPE", "PENDING", "RUNNING", "LIMIT", "OLDEST WAITS", ""], rows);
  return [...all, paint("dim", head), ...others];
}
