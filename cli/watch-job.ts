import type { ArrwClient, Job } from "../client/index.ts";
import { JobStatus } from "../client/index.ts";
import { buildFigureLines } from "./build-text.ts";
import { EXIT, Failure } from "./failure.ts";
import { endText, errorText, statusText } from "./job-text.ts";
import { statusName } from "./json.ts";
import { progressView } from "./progress-view.ts";
import { failureJson } from "./report.ts";
import { note, print } from "./terminal.ts";

export const INTERRUPTED = EXIT.interrupted;

/** Aborts on the first Ctrl-C; a second one ends the process. */
export async function untilInterrupted<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const onSignal = (): void => {
    if (abort.signal.aborted) process.exit(INTERRUPTED);
    abort.abort(new Error("interrupted"));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  try {
    return await run(abort.signal);
  } catch (error) {
    if (abort.signal.aborted) process.exitCode = INTERRUPTED;
    throw error;
  } finally {
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
  }
}

/**
 * Shows a job until it ends and sets the exit code: 0 completed, 1 failed or cancelled, 130 detached by Ctrl-C, after
 * which the job goes on.
 */
export async function watchToTheEnd(
  client: ArrwClient,
  jobId: string,
  options: { readonly json?: boolean; readonly address: string },
): Promise<void> {
  const view = progressView(options.json ?? false);
  const last = await untilInterrupted(async (signal) => {
    let job: Job | undefined;
    try {
      const onInterrupted = ({ message }: Error): void => view.interrupted(message);
      for await (const next of client.watch(jobId, { signal, onInterrupted })) {
        job = next;
        view.update(next);
      }
      return job;
    } catch (error) {
      if (!signal.aborted) throw error;
      return "detached" as const;
    } finally {
      view.close();
    }
  });
  if (last === "detached") {
    process.exitCode = INTERRUPTED;
    note("", "detached; the job goes on", ...nextCommands(jobId, options.address));
  } else if (last) reportEnd(last, options.json ?? false);
}

/** "  watch it   arrw jobs watch ID" and so on */
export function nextCommands(jobId: string, address: string): string[] {
  const where = addressOption(address);
  return [
    `  watch it   npx arrw jobs watch ${jobId}${where}`,
    `  cancel it  npx arrw jobs cancel ${jobId}${where}`,
  ];
}

/** "npx arrw jobs download ID -o FILE", from the same gateway. */
export function downloadCommand(jobId: string, output: string, address: string): string {
  return `npx arrw jobs download ${jobId} -o ${output}${addressOption(address)}`;
}

/** " --address HOST:PORT" where the next command would else ask another gateway; "" where it asks the same. */
function addressOption(address: string): string {
  const known = address === "127.0.0.1:50051" || process.env.ARRW_ADDRESS === address;
  return known ? "" : ` --address ${address}`;
}

function reportEnd(job: Job, json: boolean): void {
  const completed = job.status === JobStatus.JOB_STATUS_COMPLETED;
  if (!completed) {
    process.exitCode = EXIT.failed;
    note(json ? JSON.stringify(failureJson(notCompleted(job))) : endText(job));
  } else if (!json) print(endText(job), ...buildFigureLines(job));
}

function notCompleted(job: Job): Failure {
  const reason = job.error?.code || statusName(job.status);
  const message = errorText(job) || statusText(job);
  return new Failure(message, { code: `JOB_${statusName(job.status)}`, reason });
}
