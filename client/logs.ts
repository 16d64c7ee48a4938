import type { GetJobLogsResponse, JobServiceClient } from "../proto/gen/arrwdb/v1/jobs.ts";
import { type ResumeOptions, resumed } from "./resuming.ts";

export interface LogsOptions extends ResumeOptions {
  /** Goes on with new lines until the job has ended. Default false: what is there. */
  readonly follow?: boolean;
  /** Of the last line that the caller has; only later ones come. */
  readonly afterCursor?: string;
}

/** A line of a job's log: when, level (debug, info, warn, error), attempt, text. */
export type LogLine = GetJobLogsResponse;

/** See ArrwClient.jobLogs. */
export async function* jobLogs(
  stub: JobServiceClient,
  jobId: string,
  options: LogsOptions,
): AsyncGenerator<LogLine> {
  const follow = options.follow ?? false;
  let afterCursor = options.afterCursor ?? "";
  const open = stub.getJobLogs.bind(stub);
  for await (const line of resumed((...call) => open({ jobId, follow, afterCursor }, ...call), options)) {
    afterCursor = line.cursor;
    yield line;
  }
}
