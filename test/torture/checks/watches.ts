import { isTerminal, type Violation, type WatchEntry } from "../history.ts";
import type { JournalView } from "../journal-view.ts";
import { checkView } from "./calls.ts";

/** What watches showed: every transition once and in order. */
export function* checkWatches(view: JournalView): Generator<Violation> {
  for (const watch of view.all("watch")) yield* checkWatch(view, watch);
  yield* checkEvents(view);
}

function* checkWatch(view: JournalView, watch: WatchEntry): Generator<Violation> {
  const brief = {
    ...watch,
    jobs: watch.jobs.map(({ revision, status }) => ({ revision, status })),
  };
  let previous = watch.afterRevision;
  let shown = 0;
  for (const job of watch.jobs) {
    const first = shown === 0;
    const fits = first ? job.revision > previous : job.revision === previous || job.revision === previous + 1;
    if (!fits) {
      const message = `a watch of job ${watch.jobId} goes from revision ${previous} to ${job.revision}`;
      yield { check: "watch", message, evidence: [brief] };
    }
    if (first || job.revision !== previous) yield* checkView(view, job, "a watch", brief);
    previous = job.revision;
    shown += 1;
  }
  const last = watch.jobs.at(-1);
  if (watch.end === "OK" && last && !isTerminal(last)) {
    const message = `a watch of job ${watch.jobId} closed OK while the job was ${last.status}`;
    yield { check: "watch", message, evidence: [brief] };
  }
}

/** WatchJobs, put together over its reconnects, is the journal from its first event on. */
function* checkEvents(view: JournalView): Generator<Violation> {
  const streams = view.all("events");
  const seen = streams.flatMap(({ events }) => events);
  const [first] = seen;
  if (!first) return;
  const journal = view.records.filter(({ event }) => event !== "");
  const start = journal.findIndex(
    ({ jobId, revision }) => jobId === first.jobId && revision === first.revision,
  );
  if (start < 0) {
    const message = `WatchJobs begins with revision ${first.revision} of job ${first.jobId}, which the journal does not have`;
    yield { check: "events", message, evidence: [first] };
    return;
  }
  for (const [n, event] of seen.entries()) {
    const record = journal[start + n];
    const same =
      record?.jobId === event.jobId && record.revision === event.revision && record.event === event.event;
    if (!same) {
      const message = `WatchJobs shows revision ${event.revision} of job ${event.jobId} (${event.event}) where the journal has revision ${record?.revision} of job ${record?.jobId} (${record?.event})`;
      yield { check: "events", message, evidence: [...seen.slice(Math.max(0, n - 2), n + 3), record] };
      return;
    }
    if (record.job && event.fingerprint !== undefined && event.fingerprint !== record.job.fingerprint) {
      const message = `WatchJobs shows revision ${event.revision} of job ${event.jobId} otherwise than the journal`;
      yield { check: "events", message, evidence: [event, record] };
    }
  }
  const [final] = view.all("final");
  const left = journal.length - start - seen.length;
  if (left > 0 && final?.eventsComplete) {
    const message = `WatchJobs left out the last ${left} events`;
    yield { check: "events", message, evidence: journal.slice(start + seen.length).slice(0, 10) };
  }
}
