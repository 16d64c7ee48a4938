import type { Command } from "commander";
import { ClientError, type Violation } from "../client/index.ts";
import { EXIT, exitCodeOf, Failure } from "./failure.ts";
import { plain } from "./format.ts";
import type { Json } from "./json.ts";

/** What a failed command writes to stderr. */

export interface ReportOptions {
  readonly json: boolean;
  /** The command that failed; its options are named where fields are. */
  readonly command: Command | undefined;
}

/** Lines for people, or one line of JSON for programs. */
export function reportLines(error: unknown, { json, command }: ReportOptions): string[] {
  const failure = toFailure(error);
  if (json) return [JSON.stringify(failureJson(failure, command))];
  const { violations } = failure;
  const [only] = violations;
  if (!only) return [`error: ${failure.message}`];
  if (violations.length === 1) return [`error: ${violationText(only, command)}`];
  return ["error: invalid request", ...violations.map((each) => `  ${violationText(each, command)}`)];
}

export function toFailure(error: unknown): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof ClientError) {
    const { code, reason, violations, retryAfterMs } = error;
    const options = { exitCode: exitCodeOf(error), code, reason, violations, retryAfterMs, cause: error };
    return new Failure(plain(error.message), options);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new Failure(message, { exitCode: EXIT.failed, cause: error });
}

export function failureJson(failure: Failure, command?: Command): Json {
  const { code, reason, message, exitCode, violations, retryAfterMs } = failure;
  const fields = violations.map(({ field, description }) => {
    const option = command && optionOf(field, command);
    return { field, description, ...(option === undefined ? {} : { option }) };
  });
  return {
    error: {
      code,
      reason,
      message,
      fields,
      ...(retryAfterMs === undefined ? {} : { retry_after_ms: Math.ceil(retryAfterMs) }),
      exit_code: exitCode,
    },
  };
}

function violationText({ field, description }: Violation, command: Command | undefined): string {
  const option = command && optionOf(field, command);
  return `${option ?? plain(field)}: ${plain(description)}`;
}

/** Fields whose option has another name. */
const OPTIONS: Readonly<Record<string, string>> = {
  labels: "label",
  ef_search: "ef",
  page_size: "limit",
  after_cursor: "after",
  min_score: "min-score",
  index_type: "type",
};
const ARGUMENTS: Readonly<Record<string, string>> = {
  library_id: "library",
  job_id: "job",
  worker_id: "worker",
  document_id: "document",
  document_ids: "ids",
};

/** "--chunk-size" for spec.batch_import.chunk_size, where the command has it; "<library>" for library_id. */
export function optionOf(field: string, command: Command): string | undefined {
  for (const name of namesIn(field)) {
    for (const long of [name.replaceAll("_", "-"), OPTIONS[name]]) {
      const found = command.options.find((option) => long !== undefined && matches(option, long));
      if (found) return found.long ?? found.short;
    }
    const argument = command.registeredArguments.find(
      (each) => each.name() === name || each.name() === ARGUMENTS[name],
    );
    if (argument) return argument.required ? `<${argument.name()}>` : `[${argument.name()}]`;
  }
  return undefined;
}

function matches(
  { long, short }: { readonly long?: string; readonly short?: string },
  name: string,
): boolean {
  return long === `--${name}` || short === `-${name}`;
}

/** The path's names from the innermost one out: filter.all[3].field gives field, all, filter. */
function namesIn(field: string): string[] {
  return field
    .split(".")
    .map((part) => part.replace(/[[(].*$/, ""))
    .reverse();
}
