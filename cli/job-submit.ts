import { createReadStream } from "node:fs";
import type { Command } from "commander";
import type { ArrwClient, SubmitJobRequest, SubmitJobsResult } from "../client/index.ts";
import { type ClientCommandOptions, withClient, withClientOptions } from "./connection.ts";
import { EXIT, UsageError } from "./failure.ts";
import { plain, plural } from "./format.ts";
import { lines } from "./import/lines.ts";
import { parseJobRequest } from "./job-requests.ts";
import { toJson } from "./json.ts";
import { note, print, printJson } from "./terminal.ts";
import { watchBoard } from "./watch-board.ts";
import { nextCommands, watchToTheEnd } from "./watch-job.ts";

/** arrw jobs submit */

interface SubmitOptions extends ClientCommandOptions {
  readonly watch?: boolean;
}

const HELP = `
A request is a SubmitJobRequest in JSON, its fields named as in docs/api.md:
  arrw jobs submit '{"spec": {"echo": {"message": "hello", "sleep": "5s", "steps": 50}}}'
  arrw jobs submit '{"library_id": "docs", "spec": {"index_optimize": {}}, "run_at": "2026-12-24T18:00:00Z"}'
A file, or stdin (-), has one a line. Requests with a request_id can be submitted again without harm.`;

export function registerSubmit(jobs: Command): void {
  withClientOptions(jobs.command("submit <request>"))
    .description("submit jobs of any type: a request in JSON, a file of them, or - for stdin")
    .option("-w, --watch", "watch them until they end")
    .addHelpText("after", HELP)
    .action(submit);
}

/** Of one call: the requests, and the bytes of their JSON. */
const BATCH = 1_000;
const BATCH_BYTES = 4_000_000;

async function submit(request: string, options: SubmitOptions): Promise<void> {
  await withClient(options, async (client) => {
    if (request.trimStart().startsWith("{")) {
      const job = await client.submit(parseJobRequest(request, "request"));
      if (!options.json) print(job.jobId);
      else if (!options.watch) printJson(toJson(job));
      return afterwards(client, [job.jobId], options);
    }
    const jobIds: string[] = [];
    let refused = 0;
    for await (const batch of batches(request)) {
      const requests = batch.map(({ request: each }) => each);
      const results = await client.submitAll(requests).catch((error: unknown) => {
        if (jobIds.length > 0) note(`${plural(jobIds.length, "job")} submitted before it`);
        throw error;
      });
      for (const [i, result] of results.entries()) {
        const jobId = told(result, batch[i]?.where ?? "", options);
        if (jobId === undefined) refused += 1;
        else jobIds.push(jobId);
      }
    }
    if (refused > 0) process.exitCode = EXIT.usage;
    await afterwards(client, jobIds, options);
  });
}

async function afterwards(
  client: ArrwClient,
  jobIds: readonly string[],
  options: SubmitOptions,
): Promise<void> {
  const [only] = jobIds;
  if (only === undefined) return;
  if (!options.watch) {
    if (jobIds.length === 1 && !options.json) print(...nextCommands(only, options.address));
    return;
  }
  if (jobIds.length === 1) await watchToTheEnd(client, only, options);
  else await watchBoard(client, { jobIds }, options);
}

/** @returns the job's id; undefined = it was refused */
function told(result: SubmitJobsResult, where: string, { json, watch }: SubmitOptions): string | undefined {
  const { outcome } = result;
  if (outcome?.$case === "job") {
    if (!json) print(outcome.value.jobId);
    else if (!watch) printJson(toJson(outcome.value));
    return outcome.value.jobId;
  }
  if (json) printJson(toJson(result));
  const violations = outcome?.value.violations ?? [];
  const list = violations.map(({ field, description }) => `  ${plain(field)}: ${plain(description)}`);
  note(`${where}: ${plain(outcome?.value.message ?? "no answer")}`, ...list);
  return undefined;
}

interface Numbered {
  readonly request: SubmitJobRequest;
  readonly where: string;
}

async function* batches(source: string): AsyncGenerator<Numbered[]> {
  const name = source === "-" ? "stdin" : source;
  const input = source === "-" ? process.stdin : createReadStream(source);
  let batch: Numbered[] = [];
  let number = 0;
  let any = false;
  let size = 0;
  for await (const line of lines(input, name)) {
    number += 1;
    if (line.trim() === "") continue;
    const where = `${name}, line ${number}`;
    batch.push({ request: parseJobRequest(line, where), where });
    any = true;
    size += line.length;
    if (batch.length < BATCH && size < BATCH_BYTES) continue;
    yield batch;
    batch = [];
    size = 0;
  }
  if (batch.length > 0) yield batch;
  if (!any) throw new UsageError(`${name}: no requests`);
}
