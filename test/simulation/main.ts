import { parseArgs } from "node:util";
import { reportOf, search } from "./check.ts";

/** `npm run simulate -- --runs 10000 --seed 1`: tries schedules, prints the rate, fails with the simplest that breaks. */
const { values } = parseArgs({
  options: { runs: { type: "string", default: "10000" }, seed: { type: "string", default: "1" } },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
if (!Number.isSafeInteger(runs) || runs < 1 || !Number.isSafeInteger(seed)) {
  console.error("usage: npm run simulate -- [--runs <number>] [--seed <number>]");
  process.exit(2);
}

let schedules = 0;
let events = 0;
let records = 0;
let virtualMs = 0;
const startedAtMs = performance.now();
const cpu = process.cpuUsage();
const found = await search({
  runs,
  seed,
  onResult: (result) => {
    schedules += 1;
    events += result.events;
    records += result.records;
    virtualMs += result.virtualMs;
  },
});
const seconds = (performance.now() - startedAtMs) / 1_000;
const { user, system } = process.cpuUsage(cpu);
const cpuSeconds = (user + system) / 1e6;
const perMinute = Math.round((schedules / seconds) * 60);
console.log(
  `${schedules} schedules in ${seconds.toFixed(1)} s: ${perMinute} a minute; each ${Math.round(events / schedules)} events, ` +
    `${Math.round(records / schedules)} journal records, ${(virtualMs / schedules / 1_000).toFixed(1)} s of simulated time and ` +
    `${((cpuSeconds / schedules) * 1_000).toFixed(1)} ms of a core`,
);
if (found) {
  console.error(reportOf(found));
  process.exitCode = 1;
}
