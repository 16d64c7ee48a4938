import { type CallEntry, isTerminal, type JobView, type Violation } from "../history.ts";
import type { JournalView } from "../journal-view.ts";

/** What clients were told against what the journal says. */
export function* checkCalls(view: JournalView): Generator<Violation> {
  const calls = view.all("call");
  for (const call of calls) {
    if (call.reply) yield* checkView(view, call.reply, `the reply to ${call.call} ${call.id}`, call);
    yield* checkReply(view, call);
  }
  yield* checkRequestIds(view, calls);
  yield* checkBodies(view, calls);
  yield* checkRecency(calls);
}

/** A job that somebody was shown is a state that the journal has, whole. */
export function* checkView(
  view: JournalView,
  job: JobView,
  what: string,
  evidence: unknown,
): Generator<Violation> {
  const records = view.recordsOf(job.jobId);
  if (records.length === 0) {
    const message = `${what} shows job ${job.jobId}, which the journal does not know: it is lost`;
    yield { check: "lost", message, evidence: [evidence] };
    return;
  }
  const record = view.revisionOf(job.jobId, job.revision);
  if (record?.job?.fingerprint === job.fingerprint) return;
  const message = record
    ? `${what} shows job ${job.jobId} at revision ${job.revision} otherwise than the journal`
    : `${what} shows revision ${job.revision} of job ${job.jobId}, which the journal does not have`;
  yield { check: "reply", message, evidence: [evidence, record ?? records.at(-1)] };
}

function* checkReply(view: JournalView, call: CallEntry): Generator<Violation> {
  const { reply } = call;
  if (call.call === "cancel" && reply && reply.status !== "CANCELLED") {
    if (reply.status !== "RUNNING" || !reply.cancelRequested) {
      const message = `cancel ${call.id} was acknowledged with a job that is ${reply.status}`;
      yield { check: "cancel", message, evidence: [call] };
    }
  }
  const wasThere = view.recordsOf(call.jobId)[0];
  if (call.code === "NOT_FOUND" && wasThere && wasThere.atMs < call.startMs - CLOCK_SLACK_MS) {
    if (view.wasDeleted(call.jobId)) return;
    const message = `${call.call} ${call.id} does not find job ${call.jobId}, which was there`;
    yield { check: "lost", message, evidence: [call, wasThere] };
  }
  if (call.code === "INTERNAL" || call.code === "UNKNOWN") {
    const message = `${call.call} ${call.id} failed with ${call.code}: ${call.message}`;
    yield { check: "reply", message, evidence: [call] };
  }
}

/** The journal's times are the wall clock's, the calls' a monotonic one's. */
const CLOCK_SLACK_MS = 1_000;

/** One request_id, one job; the same id with another body is refused. */
function* checkRequestIds(view: JournalView, calls: readonly CallEntry[]): Generator<Violation> {
  for (const [requestId, group] of groupBy(calls, ({ requestId }) => requestId)) {
    const made = [...view.jobs.values()].filter(([first]) => first?.job?.requestId === requestId);
    if (made.some(([first]) => first && view.wasDeleted(first.jobId))) continue;
    if (made.length > 1) {
      const message = `request_id ${requestId} made ${made.length} jobs`;
      yield { check: "request-id", message, evidence: made.map(([first]) => first) };
    }
    const accepted = group.filter(({ reply }) => reply);
    if (new Set(accepted.map(({ body, reply }) => `${body} ${reply?.jobId}`)).size > 1) {
      const message = `request_id ${requestId} was accepted with different bodies or jobs`;
      yield { check: "request-id", message, evidence: accepted };
    }
    for (const call of group) {
      if (call.code !== "ALREADY_EXISTS") continue;
      const other = group.some(({ body, startMs }) => body !== call.body && startMs < call.endMs);
      if (other) continue;
      const message = `request_id ${requestId} was refused as reused, but nobody used it with another body`;
      yield { check: "request-id", message, evidence: group };
    }
  }
}

/** A body that was sent without a request_id, or always with the same, is one job: exactly when acknowledged. */
function* checkBodies(view: JournalView, calls: readonly CallEntry[]): Generator<Violation> {
  const jobs = groupBy(
    [...view.jobs.values()].flatMap(([first]) => (first?.job ? [first.job] : [])),
    ({ body }) => body,
  );
  const submits = calls.filter(({ call }) => call === "submit" || call === "import");
  for (const [body, group] of groupBy(submits, ({ body }) => body)) {
    const made = jobs.get(body)?.length ?? 0;
    if (made > 1 && !jobs.get(body)?.some(({ jobId }) => view.wasDeleted(jobId))) {
      const message = `${group.length} submits of body ${body} made ${made} jobs`;
      yield { check: "duplicate", message, evidence: [...group, ...(jobs.get(body) ?? [])] };
    }
    if (made > 0 && group.every(({ code }) => REFUSED.has(code))) {
      const message = `body ${body} was refused, and made a job all the same`;
      yield { check: "duplicate", message, evidence: [...group, ...(jobs.get(body) ?? [])] };
    }
  }
}

/** Errors that say that nothing was done. */
const REFUSED: ReadonlySet<string> = new Set([
  "INVALID_ARGUMENT",
  "ALREADY_EXISTS",
  "UNIMPLEMENTED",
  "NOT_FOUND",
]);

/** Who asks after an answer was given gets nothing older than that answer. */
function* checkRecency(calls: readonly CallEntry[]): Generator<Violation> {
  const answered = calls.filter(({ reply }) => reply).sort((a, b) => a.endMs - b.endMs);
  for (const [jobId, group] of groupBy(answered, ({ reply }) => reply?.jobId ?? "")) {
    for (const later of group) {
      const newest = group
        .filter(({ endMs }) => endMs < later.startMs)
        .reduce<CallEntry | undefined>(newer, undefined);
      if (!newest?.reply || !later.reply || newest.reply.revision <= later.reply.revision) continue;
      const message = `${later.call} ${later.id} shows job ${jobId} at revision ${later.reply.revision}, after ${newest.call} ${newest.id} had shown ${newest.reply.revision}`;
      yield { check: "stale-read", message, evidence: [newest, later] };
    }
  }
}

function newer(best: CallEntry | undefined, call: CallEntry): CallEntry {
  return (best?.reply?.revision ?? 0) > (call.reply?.revision ?? 0) && best ? best : call;
}

/** When the dust has settled: every job has ended, and the list shows what the journal says. */
export function* checkFinal(view: JournalView): Generator<Violation> {
  const [final] = view.all("final");
  if (!final) {
    yield { check: "settled", message: "the run was not ended", evidence: [] };
    return;
  }
  if (final.unsettled !== "") {
    const open = [...view.jobs.keys()]
      .map((jobId) => view.lastOf(jobId))
      .filter((last) => last?.job && (!isTerminal(last.job) || last.fencePending !== 0));
    yield { check: "settled", message: final.unsettled, evidence: open.slice(0, 20) };
    return;
  }
  const listed = new Map(final.jobs.map((job) => [job.jobId, job]));
  for (const [jobId, records] of view.jobs) {
    const last = records.at(-1);
    const shown = listed.get(jobId);
    if (last?.job && !isTerminal(last.job)) {
      const message = `job ${jobId} is ${last.job.status} at the end`;
      yield { check: "settled", message, evidence: [last] };
    }
    if (last?.job?.fingerprint === shown?.fingerprint) continue;
    const message = `ListJobs shows job ${jobId} otherwise than the journal`;
    yield { check: "settled", message, evidence: [shown, last] };
  }
  const kept = [...view.jobs.values()].filter((records) => records.at(-1)?.job).length;
  if (final.jobs.length !== kept || final.totalSize !== kept) {
    const message = `the journal holds ${kept} jobs, ListJobs shows ${final.jobs.length} and counts ${final.totalSize}`;
    yield { check: "settled", message, evidence: [] };
  }
}

export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    if (key === "") continue;
    const group = groups.get(key);
    if (group) group.push(item);
    else groups.set(key, [item]);
  }
  return groups;
}
