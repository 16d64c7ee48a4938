import { type ArrwClient, isTerminal, type JobEvent, type JobFilter, JobStatus } from "../client/index.ts";
import { localTime, plain } from "./format.ts";
import { errorText, progressText, resultText, statusStyle } from "./job-text.ts";
import { paint } from "./terminal.ts";
import { showEvents } from "./watch-events.ts";

const EVENT_WIDTH = 16;

/** Shows what happens to all jobs that match, a line or a JSON object per event, until Ctrl-C. */
export function watchAll(
  client: ArrwClient,
  filter: Partial<JobFilter>,
  { json = false, after }: { readonly json?: boolean; readonly after?: string },
): Promise<void> {
  const behind = after === undefined ? {} : { afterCursor: after };
  return showEvents((options) => client.watchJobs({ filter, ...behind, ...options }), eventLine, json);
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
