import type { Command } from "commander";
import type { JobFilter, JobStatus } from "../client/index.ts";
import { label, list, statuses } from "./arguments.ts";

/** Which jobs a command is about. */
export interface FilterOptions {
  readonly status?: JobStatus[];
  readonly type?: string[];
  readonly library?: string;
  readonly label?: Record<string, string>;
}

/** Gives a command --status, --type, --library and --label. */
export function withFilterOptions(command: Command): Command {
  return command
    .option(
      "--status <names>",
      "pending, scheduled, running, completed, failed, cancelled; comma-separated",
      statuses,
    )
    .option("--type <names>", "batch_import, echo, ...; comma-separated", list)
    .option("--library <library>", "id or name")
    .option("--label <key=value>", "has this label; may be repeated", label);
}

export function jobFilter({ status, type, library, label: labels }: FilterOptions): Partial<JobFilter> {
  return {
    statuses: status ?? [],
    types: type ?? [],
    libraryId: library ?? "",
    labels: labels ?? {},
  };
}
