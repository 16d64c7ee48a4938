import {
  type ArrwClient,
  ClientError,
  isTerminal,
  type JobEvent,
  type JobFilter,
  JobStatus,
} from "../client/index.ts";
import { localTime, plain } from "./format.ts";
import { errorText, progressText, resultText, statusStyle } from "./job-text.ts";
import { toJson } from "./json.ts";
import { note, paint, print, printJson } from "./terminal.ts";
import { untilInterrupted } from "./watch-job.ts";

const EVENT_WIDTH = 16;
const INTERRUPTED = 130;

/** Shows what happens to all jobs that match, a line or a JSON object per event, until Ctrl-C. */
export async function watchAll(
  client: ArrwClient,
  filter: Partial<JobFilter>,
  options: { readonly json?: boolean; readonly after?: string },
): Promise<void> {
  const { json = false, after } = options;
  const onInterrupted = ({ message }: Error): void =>
    note(paint("dim", `interrupted, going on: ${plain(message)}`, process.stderr));
  await untilInterrupted(async (signal) => {
    const behind = after === undefined ? {} : { afterCursor: after };
    try {
      for await (const event of client.watchJobs({ filter, signal, onInterrupted, ...behind })) {
        if (json) printJson(toJson(event));
        else print(eventLine(event));
        await written();
      }
    } catch (error) {
      if (signal.aborted) process.exitCode = INTERRUPTED;
      else throw explained(error);
    }
  });
}

/** "2026-01-31 09:04:50  completed  0190...  echo  \"hello\"" */
export function eventLine({ event, at, job }: JobEvent): string {
  const name = event.replace(/^job\./, "");
  const end = resultText(job) || (isTerminal(job) ? "" : progressText(job));
  const failed = job.status === JobStatus.JOB_STATUS_COMPLETED ? "" : errorText(job);
  const parts = [
    localTime(at),
    paint(statusStyle(job), plain(name).padEnd(EVENT_WIDTH)),
    job.jobId,
    job.type,
    failed || end,
  ];
  return parts.filter((part) => part !== "").join("  ");
}

function explained(error: unknown): unknown {
  const oldest = error instanceof ClientError ? error.metadata.oldest : undefined;
  if (!(error instanceof ClientError) || oldest === undefined) return error;
  return new Error(`${plain(error.message)}; or take what is left: --after ${plain(oldest)}`, {
    cause: error,
  });
}

/** Whoever reads slowly makes the watch wait, not this process grow. */
function written(): Promise<void> | undefined {
  if (!process.stdout.writableNeedDrain) return undefined;
  return new Promise((resolve) => process.stdout.once("drain", () => resolve()));
}
