import { type ArrwClient, type Job, type JobFilter, JobStatus } from "../client/index.ts";
import { type ClientCommandOptions, toFailure } from "./connection.ts";
import { EXIT } from "./failure.ts";
import { plural } from "./format.ts";
import { JobBoard } from "./job-board.ts";
import { endText } from "./job-text.ts";
import { toJson } from "./json.ts";
import { LiveArea } from "./live-area.ts";
import { type ProgressView, progressView } from "./progress-view.ts";
import { reportLines } from "./report.ts";
import { note, paint, print, printJson } from "./terminal.ts";
import { INTERRUPTED, untilInterrupted } from "./watch-job.ts";

/** Several jobs watched at a time. */

/** Each is a stream of its own. */
export const MOST_WATCHED = 200;
const REDRAW_MS = 100;
const TICK_MS = 500;
/** Rows besides those of jobs. */
const OTHER_ROWS = 2;

/** These jobs, or all that match, from now on. */
export type Watched =
  | { readonly jobIds: readonly string[] }
  | { readonly filter: Partial<JobFilter>; readonly jobIds?: undefined };

/** Whether the board can be drawn, which needs a terminal. */
export function hasTerminal(): boolean {
  return process.stdout.isTTY === true && process.stderr.isTTY === true && process.env.TERM !== "dumb";
}

/**
 * Shows jobs until all of them have ended, or until Ctrl-C. Exit code: 0 all completed, 1 one failed or was cancelled,
 * 130 detached.
 */
export async function watchBoard(
  client: ArrwClient,
  watched: Watched,
  options: ClientCommandOptions,
): Promise<void> {
  const view = boardView(options.json ?? false);
  await untilInterrupted(async (signal) => {
    try {
      if (watched.jobIds) await watchNamed(client, watched.jobIds, view, signal, options);
      else await watchMatching(client, watched.filter, view, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      view.close();
    }
    if (!signal.aborted) return;
    process.exitCode = INTERRUPTED;
    note("detached; the jobs go on");
  });
}

interface BoardView {
  update(job: Job): void;
  /** It is no more to be watched: deleted, or refused. */
  remove(jobId: string): void;
  interrupted(reason: string): void;
  name(libraryId: string, name: string): void;
  close(): void;
}

async function watchNamed(
  client: ArrwClient,
  jobIds: readonly string[],
  view: BoardView,
  signal: AbortSignal,
  { json = false }: ClientCommandOptions,
): Promise<void> {
  await nameLibraries(client, view);
  const outcomes = await Promise.all(
    [...new Set(jobIds)].map(async (jobId) => {
      try {
        const last = await watchOne(client, jobId, view, signal);
        return last?.status === JobStatus.JOB_STATUS_COMPLETED ? EXIT.ok : EXIT.failed;
      } catch (error) {
        if (signal.aborted) return EXIT.ok;
        view.remove(jobId);
        const failure = await toFailure(client, error);
        note(...reportLines(failure, { json, command: undefined }));
        return failure.exitCode;
      }
    }),
  );
  const bad = outcomes.filter((code) => code !== EXIT.ok);
  if (bad.length > 0) process.exitCode = bad.find((code) => code !== EXIT.failed) ?? EXIT.failed;
}

async function watchOne(
  client: ArrwClient,
  jobId: string,
  view: BoardView,
  signal: AbortSignal,
): Promise<Job | undefined> {
  let last: Job | undefined;
  const onInterrupted = ({ message }: Error): void => view.interrupted(message);
  for await (const job of client.watch(jobId, { signal, onInterrupted })) {
    last = job;
    view.update(job);
  }
  return last;
}

/** Transitions of all that match, and the progress of those that run, as far as there is room for them. */
async function watchMatching(
  client: ArrwClient,
  filter: Partial<JobFilter>,
  view: BoardView,
  signal: AbortSignal,
): Promise<void> {
  await nameLibraries(client, view);
  const followed = new Set<string>();
  const follow = (job: Job): void => {
    view.update(job);
    if (job.status !== JobStatus.JOB_STATUS_RUNNING) return;
    if (followed.has(job.jobId) || followed.size >= MOST_WATCHED) return;
    followed.add(job.jobId);
    // The events tell how it ends; only progress is wanted from this.
    void watchOne(client, job.jobId, view, signal)
      .catch(() => undefined)
      .finally(() => followed.delete(job.jobId));
  };
  const asked = filter.statuses ?? [];
  const statuses = ACTIVE.filter((status) => asked.length === 0 || asked.includes(status));
  // Where the events begin; jobs that change before the list is read come twice, which is harmless.
  const { cursor } = await client.list({ pageSize: 1 }, { signal });
  if (statuses.length > 0) {
    const { jobs } = await client.list(
      { filter: { ...filter, statuses }, pageSize: MOST_WATCHED },
      { signal },
    );
    for (const job of jobs.reverse()) follow(job);
  }
  const onInterrupted = ({ message }: Error): void => view.interrupted(message);
  for await (const { event, job } of client.watchJobs({
    filter,
    afterCursor: cursor,
    signal,
    onInterrupted,
  })) {
    if (event === "job.deleted") view.remove(job.jobId);
    else follow(job);
  }
}

const ACTIVE = [
  JobStatus.JOB_STATUS_RUNNING,
  JobStatus.JOB_STATUS_PENDING,
  JobStatus.JOB_STATUS_SCHEDULED,
  JobStatus.JOB_STATUS_BLOCKED,
];

async function nameLibraries(client: ArrwClient, view: BoardView): Promise<void> {
  const { libraries } = await client.listLibraries({ pageSize: 1_000 });
  for (const { libraryId, name } of libraries) view.name(libraryId, name);
}

function boardView(json: boolean): BoardView {
  if (json) return plainView((job) => printJson(toJson(job)));
  return hasTerminal() ? liveView() : lineView();
}

function plainView(update: (job: Job) => void, close = (): void => undefined): BoardView {
  return {
    update,
    close,
    remove: () => undefined,
    name: () => undefined,
    interrupted: (reason) => note(`connection lost (${reason}), trying again`),
  };
}

/** Without a terminal: lines as a single job has them, each with the job's id. */
function lineView(): BoardView {
  const board = new JobBoard();
  const views = new Map<string, ProgressView>();
  return plainView((job) => {
    const { jobId } = job;
    let view = views.get(jobId);
    if (!view) {
      view = progressView(false, jobId);
      views.set(jobId, view);
    }
    view.update(job);
    if (!board.apply(job, performance.now())) return;
    view.close();
    views.delete(jobId);
    print(endLine(job));
  });
}

/** "0190...  batch_import  completed  396 documents, ..." */
export function endLine(job: Job): string {
  return [job.jobId, job.type, endText(job)].join("  ");
}

function liveView(): BoardView {
  const board = new JobBoard();
  const area = new LiveArea();
  let trouble = "";
  let due: NodeJS.Timeout | undefined;
  let ended: string[] = [];
  let endedCount = 0;
  const draw = (): void => {
    due = undefined;
    if (ended.length > 0) {
      area.clear();
      print(...ended);
      ended = [];
    }
    const { columns, rows } = area;
    const lines = board.lines({ columns, rows: Math.max(1, rows - OTHER_ROWS - 1) }, performance.now());
    const waiting = lines.length === 0 ? "no job is active" : plural(board.active.length, "active job");
    const status = trouble || `${waiting}, ${plural(endedCount, "job")} ended; Ctrl-C leaves, the jobs go on`;
    area.draw([...lines, paint("dim", status.slice(0, columns), process.stderr)]);
  };
  const redraw = (): void => {
    due ??= setTimeout(draw, REDRAW_MS);
  };
  const tick = setInterval(redraw, TICK_MS);
  return {
    update: (job) => {
      trouble = "";
      if (board.apply(job, performance.now())) {
        endedCount += 1;
        ended.push(endLine(job));
      }
      redraw();
    },
    remove: (jobId) => {
      board.remove(jobId);
      redraw();
    },
    interrupted: () => {
      trouble = "connection lost, trying again";
      redraw();
    },
    name: (libraryId, name) => board.name(libraryId, name),
    close: () => {
      clearInterval(tick);
      clearTimeout(due);
      area.close();
      print(...ended);
      ended = [];
    },
  };
}
