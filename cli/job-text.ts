import { isTerminal, type Job, JobStatus } from "../client/index.ts";
import { buildFigureLines, buildResultText } from "./build-text.ts";
import {
  bytes,
  count,
  duration,
  fields,
  localTime,
  msOf,
  plain,
  plural,
  shortened,
  table,
} from "./format.ts";
import { statusName } from "./json.ts";
import { paint, type Style } from "./terminal.ts";

/** Jobs in words. */

const STYLES: Partial<Record<JobStatus, Style>> = {
  [JobStatus.JOB_STATUS_RUNNING]: "cyan",
  [JobStatus.JOB_STATUS_COMPLETED]: "green",
  [JobStatus.JOB_STATUS_FAILED]: "red",
  [JobStatus.JOB_STATUS_CANCELLED]: "yellow",
};

/** "running" */
export const statusText = (job: Job): string => statusName(job.status).toLowerCase();

export function statusStyle(job: Job): Style {
  return STYLES[job.status] ?? "dim";
}

/** "62 %", "-" when nothing is known. */
export function percentText(job: Job): string {
  if (job.status === JobStatus.JOB_STATUS_COMPLETED) return "100 %";
  return job.progress && job.progress.total > 0n ? `${Math.floor(job.progress.percentage)} %` : "-";
}

/** From its first start to its end or now; undefined = it hasn't started. */
export function runningMs(job: Job, nowMs: number): number | undefined {
  if (!job.startedAt) return undefined;
  return (job.completedAt?.getTime() ?? nowMs) - job.startedAt.getTime();
}

/** What it did: "396 documents, 4,012 chunks"; "" = no result. */
export function resultText(job: Job): string {
  const result = job.result?.result;
  if (result?.$case === "batchImport") {
    const { imported, failed, totalChunks } = result.value;
    const bad = failed > 0n ? `, ${plural(failed, "document")} refused` : "";
    return `${plural(imported, "document")}, ${plural(totalChunks, "chunk")}${bad}`;
  }
  if (result?.$case === "batchDelete") {
    const { deleted, failed } = result.value;
    return `${plural(deleted, "document")} deleted${failed > 0n ? `, ${count(failed)} not there` : ""}`;
  }
  const built = result && buildResultText(result);
  if (built !== undefined) return built;
  if (result?.$case === "batchExport") {
    const { documentsExported, chunksExported, format, fileSizeBytes } = result.value;
    const what = `${plural(documentsExported, "document")}, ${plural(chunksExported, "chunk")}`;
    return `${what}, ${format}, ${bytes(fileSizeBytes)}`;
  }
  return result?.$case === "echo" && result.value.message ? `"${shortened(result.value.message, 60)}"` : "";
}

/** "CODE: message"; "" = no error. */
export function errorText(job: Job): string {
  return job.error ? `${job.error.code}: ${plain(job.error.message)}` : "";
}

/** How it ended, in one line. */
export function endText(job: Job): string {
  const tookMs = job.completedAt && job.createdAt ? job.completedAt.getTime() - job.createdAt.getTime() : 0;
  const parts = [resultText(job), `in ${duration(tookMs)}`, interruptions(job)].filter((part) => part !== "");
  const status = paint(statusStyle(job), statusText(job));
  switch (job.status) {
    case JobStatus.JOB_STATUS_FAILED:
      return `${status}  ${errorText(job)} (${plural(job.attempt, "attempt")})`;
    default:
      return `${status}  ${parts.join(", ")}`;
  }
}

function interruptions(job: Job): string {
  const parts: string[] = [];
  if (job.losses > 0) parts.push(`resumed after ${plural(job.losses, "lost worker")}`);
  if (job.retries > 0) parts.push(plural(job.retries, "retry").replace("retrys", "retries"));
  return parts.join(", ");
}

/** Everything that is known of it. */
export function jobDetails(job: Job, libraryName: string | undefined, nowMs: number): string[] {
  const { progress } = job;
  const ran = runningMs(job, nowMs);
  const time = (date: Date | undefined): string | undefined => (date ? localTime(date) : undefined);
  const labels = Object.entries(job.labels).map(([key, value]) => plain(`${key}=${value}`));
  const library = libraryName ? `${libraryName} (${job.libraryId})` : job.libraryId;
  const input = `${plural(job.itemCount, "document")}, ${bytes(job.payloadBytes)}`;
  return [
    `${paint("bold", job.jobId)}  ${paint(statusStyle(job), statusText(job))}`,
    ...fields([
      ["type", job.type],
      ["library", library || undefined],
      ["input", job.itemCount > 0n ? input : undefined],
      ["progress", progress ? progressText(job) : undefined],
      ["result", resultText(job) || undefined],
      ["error", errorText(job) || undefined],
      ["waits for", job.waitingFor ? plain(job.waitingFor) : undefined],
      ["attempt", job.attempt > 0 ? attemptText(job) : undefined],
      ["lost workers", job.losses > 0 ? count(job.losses) : undefined],
      ["cancel", job.cancelRequested && !isTerminal(job) ? "asked for" : undefined],
      ["submitted", time(job.createdAt)],
      ["runs at", job.status === JobStatus.JOB_STATUS_SCHEDULED ? time(job.runAt) : undefined],
      ["started", time(job.startedAt)],
      ["ended", time(job.completedAt)],
      ["ran for", ran === undefined ? undefined : duration(ran)],
      ["worker", job.workerId || undefined],
      ["labels", labels.length > 0 ? labels.join(", ") : undefined],
      ["request id", job.requestId ? plain(job.requestId) : undefined],
      ["backoff", retryPolicyText(job)],
      ["attempt may take", job.executionTimeout ? duration(msOf(job.executionTimeout)) : undefined],
      ["job may take", job.totalTimeout ? duration(msOf(job.totalTimeout)) : undefined],
      ["concurrency key", keyText(job)],
    ]),
    ...buildFigureLines(job),
    ...attemptLines(job, nowMs),
  ];
}

/** "2, after 1 of at most 3 retries": a retry by hand gives all retries anew, but counts attempts on. */
function attemptText({ attempt, retries, maxRetries }: Job): string {
  return retries > 0 ? `${attempt}, after ${retries} of at most ${maxRetries} retries` : String(attempt);
}

/** "tenant-7, at most 2 at a time" */
function keyText({ concurrencyKey, concurrencyLimit }: Job): string | undefined {
  return concurrencyKey
    ? `${plain(concurrencyKey)}, at most ${count(concurrencyLimit)} at a time`
    : undefined;
}

/** "1.00 s, times 2 up to 5 min 00 s, jitter 1"; undefined = the default. */
function retryPolicyText({ retryPolicy }: Job): string | undefined {
  if (!retryPolicy) return undefined;
  const { backoffInitial, backoffMax, backoffMultiplier, jitter } = retryPolicy;
  const initialMs = backoffInitial ? msOf(backoffInitial) : 1_000;
  const maxMs = backoffMax ? msOf(backoffMax) : Math.max(300_000, initialMs);
  const growth = `times ${backoffMultiplier || 2} up to ${duration(maxMs)}`;
  return `${duration(initialMs)}, ${growth}, jitter ${jitter ?? 1}`;
}

/** Its leases, oldest first; none when it was never leased. */
function attemptLines(job: Job, nowMs: number): string[] {
  if (job.attempts.length === 0) return [];
  const rows = job.attempts.map(({ attempt, lease, startedAt, endedAt, outcome, workerId, error }) => [
    String(attempt),
    outcome || "runs",
    startedAt ? localTime(startedAt) : "-",
    startedAt ? duration((endedAt?.getTime() ?? nowMs) - startedAt.getTime()) : "-",
    String(lease),
    workerId,
    error ? shortened(`${error.code}: ${error.message}`, 60) : "",
  ]);
  const headings = ["ATTEMPT", "OUTCOME", "STARTED", "TOOK", "LEASE", "WORKER", ""];
  const [head = "", ...others] = table(headings, rows);
  return ["", `  ${paint("dim", head)}`, ...others.map((line) => `  ${line}`)];
}

/** "247 of 396, 62 %, message" */
export function progressText(job: Job): string {
  const { progress } = job;
  if (!progress) return "";
  const of = progress.total > 0n ? ` of ${count(progress.total)}, ${Math.floor(progress.percentage)} %` : "";
  const message = progress.message ? `, ${plain(progress.message)}` : "";
  return `${count(progress.current)}${of}${message}`;
}
