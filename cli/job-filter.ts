import type { Command } from "commander";
import type { JobFilter, JobStatus } from "../client/index.ts";
import { label, list, moment, statuses } from "./arguments.ts";

/** Which jobs a command is about. */
export interface FilterOptions {
  readonly status?: JobStatus[];
  readonly type?: string[];
  readonly library?: string;
  readonly label?: Record<string, string>;
  readonly since?: Date;
  readonly until?: Date;
}

/** Gives a command --status, --type, --library, --label, --since and --until. */
export function withFilterOptions(command: Command): Command {
  return command
    .option(
      "--status <names>",
      "pending, scheduled, running, completed, failed, cancelled; comma-separated",
      statuses,
    )
    .option("--type <names>", "batch_import, echo, ...; comma-separated", list)
    .option("--library <library>", "id or name")
    .option("--label <key=value>", "has this label; may be repeated", label)
    .option("--since <time>", "submitted at 2026-01-31T09:00:00Z or later, or in the last 1h", moment(-1))
    .option("--until <time>", "submitted before that, or more than 1h ago", moment(-1));
}

export function jobFilter(options: FilterOptions): Partial<JobFilter> {
  const { status, type, library, label: labels, since, until } = options;
  return {
    statuses: status ?? [],
    types: type ?? [],
    libraryId: library ?? "",
    labels: labels ?? {},
    ...(since ? { createdAfter: since } : {}),
    ...(until ? { createdBefore: until } : {}),
  };
}

/** Whether any of them was said. */
export function hasFilter({ status, type, library, label, since, until }: FilterOptions): boolean {
  return [status, type, library, label, since, until].some((each) => each !== undefined);
}
