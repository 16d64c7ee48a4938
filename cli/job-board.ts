import { isTerminal, type Job, JobStatus } from "../client/index.ts";
import { bar } from "./bar.ts";
import { count, cut, plain, plural, shortened } from "./format.ts";
import { statusStyle } from "./job-text.ts";
import { paceText, stateText } from "./progress-view.ts";
import { Rate } from "./rate.ts";
import { paint } from "./terminal.ts";

interface Row {
  job: Job;
  readonly rate: Rate;
}

export interface BoardSize {
  readonly columns: number;
  readonly rows: number;
}

/** Jobs side by side, a line each: what is shown of several watched jobs. Time is given, so that it can be tested. */
export class JobBoard {
  readonly #rows = new Map<string, Row>();
  readonly #names = new Map<string, string>();
  readonly #ended = new Set<string>();

  /** Names of libraries by id. */
  name(libraryId: string, name: string): void {
    this.#names.set(libraryId, name);
  }

  /** @returns whether the job has ended with this, so that its line is to stay and it is on the board no longer */
  apply(job: Job, nowMs: number): boolean {
    const { jobId } = job;
    const row = this.#rows.get(jobId);
    if (row && row.job.revision > job.revision) return false;
    if (isTerminal(job)) {
      this.#rows.delete(jobId);
      if (this.#ended.has(jobId)) return false;
      this.#ended.add(jobId);
      // What was seen last is what may come twice.
      for (const old of this.#ended) if (this.#ended.size > MOST_ENDED) this.#ended.delete(old);
      return true;
    }
    this.#ended.delete(jobId);
    const shown = row ?? { job, rate: new Rate() };
    shown.job = job;
    shown.rate.add(nowMs, Number(job.progress?.current ?? 0n));
    this.#rows.set(jobId, shown);
    return false;
  }

  remove(jobId: string): void {
    this.#rows.delete(jobId);
  }

  /** Ids of those that have not ended, running ones first. */
  get active(): string[] {
    return this.#sorted().map(({ job }) => job.jobId);
  }

  /** The active jobs, and how many there is no room for. */
  lines({ columns, rows }: BoardSize, nowMs: number): string[] {
    const all = this.#sorted();
    const shown = all.slice(0, all.length > rows ? rows - 1 : rows);
    const most = columns >= WIDE ? WIDE_TYPE : NARROW_TYPE;
    const typeWidth = Math.min(most, Math.max(4, ...shown.map(({ job }) => job.type.length)));
    const lines = shown.map((row) => this.#line(row, columns, typeWidth, nowMs));
    const hidden = all.slice(shown.length);
    if (hidden.length === 0) return lines;
    const running = hidden.filter(({ job }) => job.status === JobStatus.JOB_STATUS_RUNNING).length;
    const text = `and ${plural(hidden.length, "job")} more${running > 0 ? `, ${count(running)} running` : ""}`;
    return [...lines, paint("dim", shortened(text, columns), process.stderr)];
  }

  /** Running first, then those that wait; each in the order of their submission. */
  #sorted(): Row[] {
    const rank = ({ job }: Row): number => (job.status === JobStatus.JOB_STATUS_RUNNING ? 0 : 1);
    return [...this.#rows.values()].sort((a, b) => rank(a) - rank(b) || (a.job.jobId < b.job.jobId ? -1 : 1));
  }

  #line({ job, rate }: Row, columns: number, typeWidth: number, nowMs: number): string {
    const wide = columns >= WIDE;
    const barWidth = wide ? 20 : 10;
    const gap = wide ? "  " : " ";
    const { progress } = job;
    const running = job.status === JobStatus.JOB_STATUS_RUNNING;
    const share = progress && progress.total > 0n ? Number(progress.current) / Number(progress.total) : 0;
    const style = statusStyle(job);
    const state =
      running && !job.cancelRequested
        ? paint(style, bar(share, barWidth), process.stderr)
        : paint(style, shortened(stateText(job), barWidth).padEnd(barWidth), process.stderr);
    const percent = running || share > 0 ? `${String(Math.floor(share * 100)).padStart(3)} %` : "     ";
    const library = this.#names.get(job.libraryId) ?? "";
    const before = [
      job.jobId,
      shortened(job.type, typeWidth).padEnd(typeWidth),
      ...(wide ? [shortened(library, LIBRARY_WIDTH).padEnd(LIBRARY_WIDTH)] : []),
    ].join(gap);
    const done =
      wide && progress && progress.total > 0n ? `${count(progress.current)}/${count(progress.total)}` : "";
    const pace = paceText(job, rate, nowMs);
    // Where there is room for one of the two, when it ends is what one wants to know.
    const brief = wide ? pace : pace.replace(/^\S+ {2}(?=ETA)/, "");
    const after = [percent, done, running ? brief : waitsFor(job)].filter((part) => part.trim() !== "");
    const room = Math.max(1, columns - before.length - barWidth - 2 * gap.length);
    return `${before}${gap}${state}${gap}${cut(after.join(gap), room)}`.trimEnd();
  }
}

function waitsFor({ waitingFor }: Job): string {
  return waitingFor ? `waits for ${plain(waitingFor)}` : "";
}

const WIDE = 120;
const WIDE_TYPE = 24;
const NARROW_TYPE = 13;
const LIBRARY_WIDTH = 16;
const MOST_ENDED = 10_000;
