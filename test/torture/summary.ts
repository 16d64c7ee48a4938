import { type Entry, type EntryOf, isTerminal, type Violation } from "./history.ts";
import { JournalView } from "./journal-view.ts";

/** A run for people: what was done, what came of it, what was checked. */
export function summarize(entries: readonly Entry[]): string {
  const view = new JournalView(entries);
  const all = <K extends Entry["kind"]>(kind: K): EntryOf<K>[] => view.all(kind);
  const events = view.records.filter(({ event }) => event !== "");
  const last = [...view.jobs.values()].flatMap((records) => records.at(-1) ?? []);
  const outcomes = all("outcome");
  const granted = new Map(
    events.filter(({ event }) => event === "job.started").map((each) => [each.jobId, 0]),
  );
  const rows: [string, string][] = [
    ["faults", counts(all("fault").map(({ fault }) => fault))],
    ["on", counts(all("fault").map(({ target }) => target.replace(/-\d/g, "")))],
    ["calls", counts(all("call").map(({ call }) => call))],
    ["answered with", counts(all("call").map(({ code }) => code || "OK"))],
    ["jobs", `${view.jobs.size}: ${counts(last.map(({ job }) => job?.status ?? "deleted"))}`],
    ["events", counts(events.map(({ event }) => event.replace("job.", "")))],
    ["leases", `${events.filter(({ event }) => event === "job.started").length} of ${granted.size} jobs`],
    ["recoveries", `${recoveries(view)}`],
    [
      "outcomes",
      `${outcomes.filter(({ sequence }) => sequence > 0).length} stored, ${outcomes.filter(({ sequence }) => sequence === 0).length} sent`,
    ],
    [
      "watches",
      `${all("watch").length} streams, ${all("watch").reduce((sum, { jobs }) => sum + jobs.length, 0)} messages`,
    ],
    [
      "history",
      `${all("events").length} streams, ${all("events").reduce((sum, { events }) => sum + events.length, 0)} events`,
    ],
    ["documents", `${all("library").reduce((sum, { documents }) => sum + documents.length, 0)}`],
    ["settled after", `${all("final")[0]?.settledAfterMs ?? "-"} ms`],
  ];
  return rows.map(([name, value]) => `${name.padEnd(14)} ${value}`).join("\n");
}

function recoveries(view: JournalView): string {
  const takeovers = view.batches.filter(({ leader }) => leader !== "").length;
  const lost = view.records.filter(({ event }) => event === "job.lost").length;
  const interrupted = [...view.jobs.values()].filter((records) => {
    const end = records.at(-1)?.job;
    return end && isTerminal(end) && end.losses > 0;
  }).length;
  return `${takeovers} takeovers, ${lost} leases lost with their worker, ${interrupted} jobs ended all the same`;
}

function counts(names: readonly string[]): string {
  const counted = new Map<string, number>();
  for (const name of names) counted.set(name, (counted.get(name) ?? 0) + 1);
  const sorted = [...counted].sort(([, a], [, b]) => b - a);
  return sorted.map(([name, count]) => `${count} ${name}`).join(", ") || "none";
}

const SHOWN_VIOLATIONS = 10;
const SHOWN_EVIDENCE = 6;

export function describeViolations(violations: readonly Violation[]): string {
  const shown = violations.slice(0, SHOWN_VIOLATIONS).map(({ check, message, evidence }) => {
    const lines = evidence.slice(0, SHOWN_EVIDENCE).map((each) => `    ${JSON.stringify(each)}`);
    return [`  [${check}] ${message}`, ...lines].join("\n");
  });
  const more = violations.length - shown.length;
  if (more > 0) shown.push(`  and ${more} more`);
  return shown.join("\n");
}
