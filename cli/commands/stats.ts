import type { Command } from "commander";
import type { GetQueueStatsResponse } from "../../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { count, duration, fields, msOf, table } from "../format.ts";
import { toJson } from "../json.ts";
import { paint, print, printJson } from "../terminal.ts";

export function register(program: Command): void {
  withClientOptions(program.command("stats"))
    .description("counts of jobs and workers")
    .action(async (options: ClientCommandOptions) => {
      const stats = await withClient(options, (client) => client.stats());
      if (options.json) printJson(toJson(stats));
      else print(...statsLines(stats));
    });
}

export function statsLines(stats: GetQueueStatsResponse): string[] {
  const jobs = [
    [stats.runningJobs, "running"],
    [stats.pendingJobs, "pending"],
    [stats.scheduledJobs, "scheduled"],
    [stats.blockedJobs, "blocked"],
    [stats.completedJobs, "completed"],
    [stats.failedJobs, "failed"],
    [stats.cancelledJobs, "cancelled"],
  ] as const;
  const shown = jobs.filter(([number]) => number > 0n).map(([number, name]) => `${count(number)} ${name}`);
  const lines = fields([
    ["jobs", `${count(stats.totalJobs)}${shown.length > 0 ? ` (${shown.join(", ")})` : ""}`],
    ["workers", count(stats.numWorkers)],
    ["slots", `${count(stats.slotsUsed)} of ${count(stats.slots)} in use`],
    ["scheduler", stats.running ? "dispatches" : paint("yellow", "does not dispatch")],
  ]);
  const active = stats.byType.filter(({ pendingJobs, runningJobs }) => pendingJobs > 0n || runningJobs > 0n);
  if (active.length === 0) return lines;
  const rows = active.map((each) => {
    const age = each.oldestPendingAge;
    const waited = age ? duration(msOf(age)) : "-";
    return [each.type, count(each.pendingJobs), count(each.runningJobs), waited, each.paused ? "paused" : ""];
  });
  const [head = "", ...others] = table(["TYPE", "PENDING", "RUNNING", "OLDEST WAITS", ""], rows);
  return [...lines, "", `  ${paint("dim", head)}`, ...others.map((line) => `  ${line}`)];
}
