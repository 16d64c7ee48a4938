import { type Entry, isTerminal, type Violation } from "./history.ts";
import { JournalView } from "./journal-view.ts";

/** A run for people: what was done, what came of it, what was checked. */
export function summarize(entries: readonly Entry[]): string {
  const view = new JournalView(entries);
  const calls = view.all("call");
  const faults = view.all("fault");
  const events = view.records.filter(({ event }) => event !== "");
  const last = [...view.jobs.values()].flatMap((records) => records.at(-1) ?? []);
  const rows: [string, string][] = [
    ["faults", counts(faults.map(({ fault }) => fault))],
    ["on", counts(faults.map(({ target }) => target.replace(/-\d/g, "")))],
    ["calls", counts(calls.map(({ call }) => call))],
    ["answers", counts(calls.map(({ code }) => code || "OK"))],
    ["jobs", `${view.jobs.size}: ${counts(last.map(({ job }) => job?.status ?? "deleted"))}`],
    ["events", counts(events.map(({ event }) => event.replace("job.", "")))],
    ["recoveries", recoveries(view)],
    ["settled", settled(view)],
    ["checked", checked(view, events.length)],
  ];
  return rows.map(([name, value]) => `${name.padEnd(11)} ${value}`).join("\n");
}

function recoveries(view: JournalView): string {
  const takeovers = view.batches.filter(({ leader }) => leader !== "").length;
  const lost = view.records.filter(({ event }) => event === "job.lost").length;
  const ended = [...view.jobs.values()].filter((records) => {
    const end = records.at(-1)?.job;
    return end && isTerminal(end) && end.losses > 0;
  }).length;
  const late = view.all("exit").filter(({ wasReady }) => !wasReady).length;
  return `${takeovers} terms of leaders, ${lost} leases lost with their worker, ${ended} such jobs ended all the same, ${late} starts took more than one try`;
}

function settled(view: JournalView): string {
  const [final] = view.all("final");
  if (!final) return "never";
  return final.unsettled === "" ? `${final.settledAfterMs} ms after the last fault` : "not in time";
}

function checked(view: JournalView, events: number): string {
  const outcomes = view.all("outcome");
  const watches = view.all("watch");
  const streams = view.all("events");
  const parts = [
    [events, "transitions"],
    [view.all("call").filter(({ reply }) => reply).length, "answers"],
    [outcomes.filter(({ sequence }) => sequence > 0).length, "stored outcomes"],
    [watches.reduce((sum, { jobs }) => sum + jobs.length, 0), `states in ${watches.length} watches`],
    [streams.reduce((sum, each) => sum + each.events.length, 0), `events in ${streams.length} histories`],
    [view.all("library").reduce((sum, { documents }) => sum + documents.length, 0), "documents"],
  ] as const;
  return parts.map(([count, what]) => `${count} ${what}`).join(", ");
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
