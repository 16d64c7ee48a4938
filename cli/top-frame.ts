import { type GetQueueStatsResponse, isTerminal, type Job, type Worker } from "../client/index.ts";
import { bar } from "./bar.ts";
import { count, cut, duration, msOf, plain, roughly, shortened, table } from "./format.ts";
import { percentText, runningMs, statusStyle, statusText } from "./job-text.ts";
import { paint, type Style } from "./terminal.ts";

/** What `arrw top` shows, from what it knows: a function of state, size and clock. */

export interface TopState {
  readonly address: string;
  readonly stats: GetQueueStatsResponse | undefined;
  /** A text says why they can't be shown. */
  readonly workers: readonly Worker[] | string;
  /** The newest. */
  readonly jobs: readonly Job[];
  /** Names of libraries by id. */
  readonly names: ReadonlyMap<string, string>;
  readonly rates: Rates;
  /** What is wrong now; "" = nothing. */
  readonly trouble: string;
}

/** Jobs a second. */
export interface Rates {
  readonly submitted: number;
  readonly completed: number;
  readonly failed: number;
}

export interface FrameSize {
  readonly columns: number;
  readonly rows: number;
}

/** Lines that fit: at most `rows`, each of at most `columns` characters. */
export function topFrame(state: TopState, { columns, rows }: FrameSize, now: Date): string[] {
  const paintLine = (line: string, style?: Style): string => {
    const text = cut(line, columns);
    return style ? paint(style, text) : text;
  };
  const lines = headLines(state, columns, now);
  const types = typeRows(state.stats);
  const workers = typeof state.workers === "string" ? [] : workerRows(state.workers, now.getTime());
  // Each part has its heading and an empty line before it.
  const left = rows - lines.length - 2 * 3;
  const room = shares(left, [types.length, Math.max(workers.length, 1), state.jobs.length]);
  const part = (
    heading: readonly string[],
    cells: readonly (readonly string[])[],
    most: number,
  ): string[] => {
    if (most < 1) return [];
    const [head = "", ...others] = table(heading, cells.slice(0, most));
    return ["", paintLine(head, "dim"), ...others.map((line) => paintLine(line))];
  };
  lines.push(...part(TYPE_HEADINGS, types, room[0] ?? 0));
  if (typeof state.workers === "string") lines.push("", paintLine(state.workers, "dim"));
  else if (workers.length === 0) lines.push("", paintLine("no workers", "yellow"));
  else lines.push(...part(WORKER_HEADINGS, workers, room[1] ?? 0));
  lines.push(...jobPart(state, columns, room[2] ?? 0, now.getTime()));
  return lines.slice(0, rows);
}

/** Rows for each part, at least two where it has them, what is left over to those that want more, in order. */
export function shares(rows: number, wanted: readonly number[]): number[] {
  const given = wanted.map((want) => Math.min(want, 2));
  let left = rows - given.reduce((sum, each) => sum + each, 0);
  // Types and workers are few; the newest jobs take the rest.
  for (const [i, want] of wanted.entries()) {
    const fair = i === wanted.length - 1 ? left : Math.ceil(left / 2);
    const more = Math.max(0, Math.min(want - (given[i] ?? 0), fair));
    given[i] = (given[i] ?? 0) + more;
    left -= more;
  }
  for (let over = -left; over > 0; over--) {
    const largest = given.lastIndexOf(Math.max(...given));
    given[largest] = Math.max(0, (given[largest] ?? 0) - 1);
  }
  return given;
}

function headLines({ address, stats, rates, trouble }: TopState, columns: number, now: Date): string[] {
  const time = now.toTimeString().slice(0, 8);
  const state = trouble || stateOf(stats);
  const title = `arrwDB ${address}`;
  const space = Math.max(1, columns - title.length - time.length);
  const first = space > 1 ? `${title}${" ".repeat(space)}${time}` : cut(title, columns);
  const lines = [paint("bold", first)];
  const style = trouble || !stats?.running ? "yellow" : "green";
  lines.push(`state   ${paint(style, cut(plain(state), columns - 8))}`);
  if (!stats) return lines;
  const jobs = [
    `${count(stats.runningJobs)} running`,
    `${count(stats.pendingJobs)} pending`,
    `${count(stats.scheduledJobs)} scheduled`,
    ...(stats.blockedJobs > 0n ? [`${count(stats.blockedJobs)} blocked`] : []),
    `${count(stats.completedJobs)} completed`,
    `${count(stats.failedJobs)} failed`,
    `${count(stats.cancelledJobs)} cancelled`,
  ];
  const flow = [
    `${rateText(rates.submitted)} submitted`,
    `${rateText(rates.completed)} completed`,
    `${rateText(rates.failed)} failed`,
  ];
  const used = stats.slots > 0 ? stats.slotsUsed / stats.slots : 0;
  lines.push(cut(`jobs    ${jobs.join(", ")}`, columns));
  lines.push(cut(`flow    ${flow.join(", ")}`, columns));
  lines.push(
    cut(`slots   ${bar(used, 20)}  ${count(stats.slotsUsed)} of ${count(stats.slots)} in use`, columns),
  );
  return lines;
}

function stateOf(stats: GetQueueStatsResponse | undefined): string {
  if (!stats) return "not known yet";
  if (stats.running) return "dispatches";
  return stats.staleSequence !== 0n
    ? "no scheduler leads: this is old"
    : "does not dispatch: all queues are paused";
}

/** "0/s", "0.4/s", "12/s", "1,234/s" */
export function rateText(perSecond: number): string {
  if (perSecond === 0) return "0/s";
  return `${perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond))}/s`;
}

const TYPE_HEADINGS = ["TYPE", "PENDING", "RUNNING", "LIMIT", "OLDEST WAITS", ""];

function typeRows(stats: GetQueueStatsResponse | undefined): string[][] {
  return (stats?.byType ?? []).map((each) => [
    plain(each.type),
    count(each.pendingJobs),
    count(each.runningJobs),
    each.maxRunning > 0 ? count(each.maxRunning) : "-",
    each.oldestPendingAge ? duration(msOf(each.oldestPendingAge)) : "-",
    each.paused ? "paused" : "",
  ]);
}

const WORKER_HEADINGS = ["WORKER", "HOST", "SLOTS", "UP FOR", "HEARD", ""];

function workerRows(workers: readonly Worker[], nowMs: number): string[][] {
  return workers.map(({ workerId, host, slots, leases, draining, startedAt, heardAt }) => [
    plain(workerId),
    shortened(host, 16),
    `${leases.length} of ${slots}`,
    startedAt ? roughly(nowMs - startedAt.getTime()) : "-",
    heardAt ? `${roughly(nowMs - heardAt.getTime())} ago` : "-",
    draining ? "draining" : "",
  ]);
}

const WIDE = 100;

/** The status of each is painted, so that a column's place is not the terminal's. */
function jobPart({ jobs, names }: TopState, columns: number, most: number, nowMs: number): string[] {
  if (most < 1 || jobs.length === 0) return [];
  const wide = columns >= WIDE;
  const shown = jobs.slice(0, most);
  const rows = shown.map((job) => {
    const ran = runningMs(job, nowMs);
    const state = job.cancelRequested && !isTerminal(job) ? "cancelling" : statusText(job);
    return [
      job.jobId,
      state,
      shortened(job.type, wide ? 24 : 13),
      percentText(job),
      ran === undefined ? "-" : duration(ran),
      ...(wide ? [shortened(names.get(job.libraryId) ?? (job.libraryId || "-"), 24)] : []),
    ];
  });
  const headings = ["JOB", "STATUS", "TYPE", "DONE", "RAN FOR", ...(wide ? ["LIBRARY"] : [])];
  const [head = "", ...others] = table(headings, rows);
  const lines = others.map((line, i) => {
    const job = shown[i];
    const state = rows[i]?.[1] ?? "";
    const text = cut(line, columns);
    return job ? text.replace(`  ${state}`, () => `  ${paint(statusStyle(job), state)}`) : text;
  });
  return ["", paint("dim", cut(head, columns)), ...lines];
}
