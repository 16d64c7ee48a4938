import { SingleBar } from "cli-progress";
import { bytes, roughly } from "./format.ts";
import { Rate } from "./rate.ts";
import { note, paint } from "./terminal.ts";

/** How far a download is, on stderr. */
export interface DownloadMeter {
  /** @param done bytes there are */
  show(done: number): void;
  /** The connection broke; the download goes on when it is back. */
  interrupted(reason: string): void;
  close(): void;
}

const BAR_WIDTH = 28;
const LINE_INTERVAL_MS = 2_000;

/** A bar on a terminal, a line now and then where there is none. */
export function downloadMeter(totalBytes: number): DownloadMeter {
  const isTerminal = process.stderr.isTTY === true && process.env.TERM !== "dumb";
  return isTerminal ? barMeter(totalBytes) : lineMeter(totalBytes);
}

function paceText(rate: Rate, totalBytes: number): string {
  const nowMs = performance.now();
  const perSecond = rate.perSecond(nowMs);
  const remainingMs = rate.remainingMs(nowMs, totalBytes);
  if (perSecond === undefined || remainingMs === undefined) return "";
  return `${bytes(Math.round(perSecond))}/s  ETA ${roughly(remainingMs)}`;
}

function barMeter(totalBytes: number): DownloadMeter {
  const rate = new Rate();
  const bar = new SingleBar({
    format: `download  ${paint("cyan", "{bar}", process.stderr)} {percent}  {done}  {pace}`,
    barsize: BAR_WIDTH,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    clearOnComplete: true,
    linewrap: false,
    fps: 10,
  });
  const payload = (done: number, pace: string) => ({
    percent: `${String(Math.floor((100 * done) / Math.max(1, totalBytes))).padStart(3)} %`,
    done: `${bytes(done)}/${bytes(totalBytes)}`,
    pace,
  });
  bar.start(Math.max(1, totalBytes), 0, payload(0, ""));
  let last = 0;
  return {
    show: (done) => {
      last = done;
      rate.add(performance.now(), done);
      bar.update(done, payload(done, paceText(rate, totalBytes)));
    },
    interrupted: () => bar.update(last, payload(last, "connection lost, trying again")),
    close: () => bar.stop(),
  };
}

function lineMeter(totalBytes: number): DownloadMeter {
  const rate = new Rate();
  let saidAtMs = performance.now();
  return {
    show: (done) => {
      rate.add(performance.now(), done);
      if (performance.now() - saidAtMs < LINE_INTERVAL_MS) return;
      saidAtMs = performance.now();
      note(`download  ${bytes(done)} of ${bytes(totalBytes)}  ${paceText(rate, totalBytes)}`);
    },
    interrupted: (reason) => note(`download  connection lost (${reason}), trying again`),
    close: () => undefined,
  };
}
