import fc from "fast-check";
import { createLog, silentLog } from "../../platform/log.ts";
import { anyPlan } from "./arbitrary.ts";
import type { Plan } from "./plan.ts";
import { type Result, type SimulationOptions, simulate } from "./simulation.ts";

export interface CheckOptions extends Omit<SimulationOptions, "log" | "onLine"> {
  readonly runs: number;
  readonly seed: number;
  /** Simpler schedules tried at most once one has failed. Default 4,000. */
  readonly shrinkRuns?: number;
  readonly onResult?: (result: Result) => void;
}

export interface Found {
  /** The simplest plan that was found to fail. */
  readonly plan: Plan;
  readonly failures: readonly string[];
  /** What happened, line by line. */
  readonly trace: readonly string[];
  /** Schedules until the first that failed. */
  readonly runs: number;
  readonly shrinks: number;
}

/** Tries schedules until one fails, and shrinks that. @returns undefined when none does */
export async function search(checked: CheckOptions): Promise<Found | undefined> {
  const { runs, seed, shrinkRuns = 4_000, onResult, ...options } = checked;
  const log = silentLog();
  let triedSinceFailure: number | undefined;
  const property = fc.asyncProperty(anyPlan, async (plan) => {
    // Enough of making it simpler: what comes now counts as passed.
    if (triedSinceFailure !== undefined && triedSinceFailure++ >= shrinkRuns) return;
    const result = await simulate(plan, { ...options, log });
    onResult?.(result);
    if (result.failures.length === 0) return;
    triedSinceFailure ??= 0;
    throw new Error(result.failures[0]);
  });
  // Refusals are errors, and nobody reads where most of them come from.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const details = await fc.check(property, { numRuns: runs, seed }).finally(() => {
    Error.stackTraceLimit = stackTraceLimit;
  });
  const plan = details.counterexample?.[0];
  if (!plan) return undefined;
  return { plan, ...(await explain(plan, options)), runs: details.numRuns, shrinks: details.numShrinks };
}

/** Runs a plan once more and writes down what happens. */
export async function explain(
  plan: Plan,
  options: Omit<SimulationOptions, "log" | "onLine"> = {},
): Promise<{ failures: readonly string[]; trace: readonly string[] }> {
  const trace: string[] = [];
  const log = createLog("scheduler", "debug", {
    write: (line) => trace.push(`            log: ${brief(line)}`),
  });
  const { failures } = await simulate(plan, { ...options, log, onLine: (line) => trace.push(line) });
  return { failures, trace };
}

/** Of a log line what reads well in a trace. */
function brief(line: string): string {
  const { level, time, service, pid, err, msg, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const cause = err ? `: ${(err as { message?: string }).message}` : "";
  return `${msg}${cause} ${JSON.stringify(rest)}`;
}

/** For people: the plan, what failed, and the trace. */
export function reportOf({ plan, failures, trace, runs, shrinks }: Found): string {
  const actions = plan.actions.map((action) => `    ${JSON.stringify(action)}`);
  const jobs = plan.jobs.map((job) => `    ${JSON.stringify(job)}`);
  const { jobs: _jobs, actions: _actions, ...rest } = plan;
  return [
    `schedule ${runs} failed; ${shrinks} times made simpler:`,
    ...failures.map((failure) => `  ${failure}`),
    `  setting: ${JSON.stringify(rest)}`,
    "  jobs:",
    ...jobs,
    "  actions:",
    ...actions,
    "  trace:",
    ...trace.map((line) => `    ${line}`),
  ].join("\n");
}
