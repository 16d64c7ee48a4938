import type { Command } from "commander";
import type { Worker } from "../../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "../connection.ts";
import { plain, plural, roughly, table } from "../format.ts";
import { toJson } from "../json.ts";
import { paint, print, printJson } from "../terminal.ts";

export function register(program: Command): void {
  const workers = program.command("workers").description("list and drain worker processes");
  withClientOptions(workers.command("list"))
    .description("live worker processes")
    .action(async (options: ClientCommandOptions) => {
      const all = await withClient(options, (client) => client.queues.workers());
      if (options.json) for (const worker of all) printJson(toJson(worker));
      else print(...workerLines(all, Date.now()));
    });
  withClientOptions(workers.command("drain <worker>"))
    .description("give a worker no more jobs; those it has go on, the process stays")
    .action(async (workerId: string, options: ClientCommandOptions) => {
      const worker = await withClient(options, (client) => client.queues.drain(workerId));
      if (options.json) printJson(toJson(worker));
      else print(`draining, ${plural(worker.leases.length, "job")} in its hands`);
    });
}

export function workerLines(workers: readonly Worker[], nowMs: number): string[] {
  if (workers.length === 0) return ["no workers"];
  const rows = workers.map(({ workerId, host, version, types, slots, leases, draining, ...times }) => [
    workerId,
    plain(host),
    plain(version),
    `${leases.length} of ${slots}`,
    types.map(plain).join(", "),
    times.startedAt ? roughly(nowMs - times.startedAt.getTime()) : "-",
    times.heardAt ? `${roughly(nowMs - times.heardAt.getTime())} ago` : "-",
    draining ? "draining" : "",
  ]);
  const headings = ["WORKER", "HOST", "VERSION", "SLOTS", "TYPES", "UP FOR", "HEARD", ""];
  const [head = "", ...others] = table(headings, rows);
  return [paint("dim", head), ...others];
}
