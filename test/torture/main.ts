import { Command, InvalidArgumentError } from "commander";
import { FAULT_EVERY_MS, makePlan } from "./plan.ts";
import { runPlan } from "./run.ts";
import { describeViolations, summarize } from "./summary.ts";

/** `npm run torture -- --minutes 5 --seed 42`: exit code 1 and the offending entries when anything is wrong. */

interface Flags {
  readonly minutes: number;
  readonly seed: number;
  readonly faultEvery: number;
  readonly verbose?: boolean;
  readonly keep?: boolean;
  readonly source?: string;
}

const MAX_MINUTES = 24 * 60;

function number(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`expected ${min}..${max}`);
    return value;
  };
}

async function torture(flags: Flags): Promise<number> {
  const { minutes, seed, faultEvery, verbose = false, keep = false, source } = flags;
  const plan = makePlan(seed, Math.round(minutes * 60_000), faultEvery);
  const { operations, faults } = plan;
  console.log(`seed ${seed}: ${operations.length} operations and ${faults.length} faults in ${minutes} min`);
  const abort = new AbortController();
  const onSignal = (): void => abort.abort(new Error("interrupted"));
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, onSignal);
  const startedAtMs = performance.now();
  const onFault = (text: string): void => {
    if (verbose)
      console.log(`${((performance.now() - startedAtMs) / 1000).toFixed(1).padStart(7)} s  ${text}`);
  };
  const { violations, entries, folder } = await runPlan(plan, {
    onFault,
    signal: abort.signal,
    ...(keep ? { keepFolder: true } : {}),
    ...(source === undefined ? {} : { source: new URL(`file://${source.replace(/\/?$/, "/")}`) }),
  });
  console.log(summarize(entries));
  if (violations.length === 0) {
    console.log("no violation found");
    if (keep) console.log(`history and logs: ${folder}`);
    return 0;
  }
  console.error(`${violations.length} VIOLATIONS (seed ${seed}); history and logs: ${folder}`);
  console.error(describeViolations(violations));
  return 1;
}

const program = new Command("torture")
  .description(
    "Runs a random workload under random faults and checks the history of everything that happened.",
  )
  .option("-m, --minutes <n>", "how long faults go on", number(0.1, MAX_MINUTES), 1)
  .option("-s, --seed <n>", "the plan: operations, faults, times", number(0, 2 ** 32 - 1), 1)
  .option("--fault-every <ms>", "mean time from one fault to the next", number(100, 600_000), FAULT_EVERY_MS)
  .option("-v, --verbose", "a line for each fault as it happens")
  .option("--keep", "keep history and logs also when nothing is wrong")
  .option("--source <folder>", "absolute path of another source tree whose services are run");
program.parse();
process.exitCode = await torture(program.opts<Flags>());
// Clients of broken connections may hold timers.
process.exit();
