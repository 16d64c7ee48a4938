import { SingleBar } from "cli-progress";
import { isTerminal, type Job, JobStatus } from "../client/index.ts";
import { count, plain, roughly } from "./format.ts";
import { statusText } from "./job-text.ts";
import { toJson } from "./json.ts";
import { Rate } from "./rate.ts";
import { note, paint, printJson } from "./terminal.ts";

/** Shows a job while it is watched. */
export interface ProgressView {
  update(job: Job): void;
  /** The connection broke; the watch is being resumed. */
  interrupted(reason: string): void;
  /** Nothing more is shown; twice is fine. */
  close(): void;
}

/** A bar on a terminal, lines where there is none; with `json` every update as JSON on stdout. */
export function progressView(json: boolean, title = ""): ProgressView {
  if (json) return jsonView();
  return process.stderr.isTTY === true && process.env.TERM !== "dumb" ? barView(title) : lineView(title);
}

function jsonView(): ProgressView {
  return {
    update: (job) => printJson(toJson(job)),
    interrupted: (reason) => note(`connection lost (${reason}), trying again`),
    close: () => undefined,
  };
}

/** "1,240/s  ETA 3 s" */
export function paceText(job: Job, rate: Rate, nowMs: number): string {
  const { progress, status } = job;
  if (status !== JobStatus.JOB_STATUS_RUNNING) return "";
  // All is counted and it goes on: what it does now tells more than a rate of nothing.
  if (progress && progress.total > 0n && progress.current >= progress.total) return plain(progress.message);
  const perSecond = rate.perSecond(nowMs);
  if (perSecond === undefined) return "";
  const shown = perSecond < 10 ? perSecond.toFixed(1) : count(Math.round(perSecond));
  const total = Number(job.progress?.total ?? 0n);
  const remainingMs = total > 0 ? rate.remainingMs(nowMs, total) : undefined;
  return remainingMs === undefined ? `${shown}/s` : `${shown}/s  ETA ${roughly(remainingMs)}`;
}

/** What stands before the bar: the state, and why nothing moves. */
export function stateText(job: Job): string {
  if (job.status === JobStatus.JOB_STATUS_SCHEDULED && job.attempt > 0) return "waits for its retry";
  if (job.cancelRequested && !isTerminal(job)) return "cancelling";
  return statusText(job);
}

const BAR_WIDTH = 28;

function barView(title: string): ProgressView {
  const rate = new Rate();
  const bar = new SingleBar({
    format: `${title}${title === "" ? "" : "  "}${paint("cyan", "{bar}", process.stderr)} {percent}  {done}  {pace}`,
    barsize: BAR_WIDTH,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    fps: 20,
  });
  let started = false;
  let shown: Job | undefined;
  let lost = "";
  const render = (): void => {
    if (!shown) return;
    const { progress } = shown;
    const current = Number(progress?.current ?? 0n);
    const total = Number(progress?.total ?? 0n);
    const pace = lost || paceText(shown, rate, performance.now()) || stateText(shown);
    const payload = {
      percent: `${String(Math.floor(progress?.percentage ?? 0)).padStart(3)} %`,
      done: total > 0 ? `${count(current)}/${count(total)}` : count(current),
      pace,
    };
    if (started) {
      bar.setTotal(Math.max(total, 1));
      bar.update(current, payload);
    } else bar.start(Math.max(total, 1), current, payload);
    started = true;
  };
  // The pace changes also while nothing comes.
  const timer = setInterval(render, 500);
  return {
    update: (job) => {
      shown = job;
      lost = "";
      rate.add(performance.now(), Number(job.progress?.current ?? 0n));
      render();
    },
    interrupted: () => {
      lost = "connection lost, trying again";
      render();
    },
    close: () => {
      clearInterval(timer);
      if (started) bar.stop();
      started = false;
      shown = undefined;
    },
  };
}

const LINE_INTERVAL_MS = 2_000;

function lineView(title: string): ProgressView {
  const rate = new Rate();
  const prefix = title === "" ? "" : `${title}  `;
  let lastState = "";
  let lastLine = "";
  let lastAtMs = Number.NEGATIVE_INFINITY;
  return {
    update: (job) => {
      const nowMs = performance.now();
      const { progress } = job;
      rate.add(nowMs, Number(progress?.current ?? 0n));
      const state = stateText(job);
      if (state === lastState && nowMs - lastAtMs < LINE_INTERVAL_MS) return;
      const done =
        progress && progress.total > 0n
          ? `${Math.floor(progress.percentage)} %  ${count(progress.current)}/${count(progress.total)}`
          : "";
      const line = [`${prefix}${state}`, done, paceText(job, rate, nowMs)]
        .filter((part) => part !== "")
        .join("  ");
      if (line === lastLine || isTerminal(job)) return;
      note(line);
      lastState = state;
      lastLine = line;
      lastAtMs = nowMs;
    },
    interrupted: (reason) => {
      if (lastLine !== reason) note(`${prefix}connection lost, trying again`);
      lastLine = reason;
    },
    close: () => undefined,
  };
}
