import type { Command } from "commander";
import type { LogLine } from "../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "./connection.ts";
import { localTime, plain } from "./format.ts";
import { toJson } from "./json.ts";
import { note, paint, print, printJson, type Style } from "./terminal.ts";
import { INTERRUPTED, untilInterrupted } from "./watch-job.ts";

/** arrw jobs logs */

interface LogsOptions extends ClientCommandOptions {
  readonly follow?: boolean;
}

export function registerLogs(jobs: Command): void {
  withClientOptions(jobs.command("logs <job>"))
    .description("what a job's attempts logged; at most the newest 1,000 lines")
    .option("-f, --follow", "go on until the job ends; Ctrl-C detaches")
    .action(showLogs);
}

async function showLogs(jobId: string, options: LogsOptions): Promise<void> {
  const { json = false, follow = false } = options;
  await withClient(options, (client) =>
    untilInterrupted(async (signal) => {
      const onInterrupted = ({ message }: Error): void =>
        note(paint("dim", `interrupted: ${plain(message)}; trying to go on`, process.stderr));
      try {
        for await (const line of client.jobLogs(jobId, { follow, signal, onInterrupted })) {
          if (json) printJson(toJson(line));
          else print(logText(line));
        }
      } catch (error) {
        if (!signal.aborted) throw error;
        process.exitCode = INTERRUPTED;
      }
    }),
  );
}

const STYLES: Readonly<Record<string, Style>> = { debug: "dim", info: "cyan", warn: "yellow", error: "red" };

/** "2026-01-31 09:04:50.123  warn   line"; the attempt is named from the second one on. */
export function logText({ at, level, attempt, line }: LogLine): string {
  const time = at ? `${localTime(at)}.${String(at.getMilliseconds()).padStart(3, "0")}` : "";
  const name = plain(level).padEnd(5);
  const again = attempt > 1 ? `${paint("dim", `attempt ${attempt}`)}  ` : "";
  return `${paint("dim", time)}  ${paint(STYLES[level] ?? "bold", name)}  ${again}${plain(line)}`;
}
