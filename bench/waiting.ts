import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type System, startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { cpuOf, median } from "./processes.ts";

/**
 * What jobs cost that only wait:
 *
 *     npm run bench -- waiting [--waiting 100000] [--jobs 20000] [--rounds 3] [--idle-seconds 20]
 *
 * Throughput of other jobs while 100,000 wait behind one concurrency key, against the same before they came; then the
 * CPU of an idle system with 100,000 scheduled jobs.
 */

const PER_CALL = 500;
const IN_FLIGHT_CALLS = 8;

export async function benchWaiting(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      waiting: { type: "string", default: "100000" },
      jobs: { type: "string", default: "20000" },
      rounds: { type: "string", default: "3" },
      "idle-seconds": { type: "string", default: "20" },
    },
  });
  const [waiting, jobs, rounds] = [Number(values.waiting), Number(values.jobs), Number(values.rounds)];
  const settings = { ARRW_WORKER_SLOTS: 100, ARRW_LOG_LEVEL: "warn" };
  const system = await startSystem({ temporary: true, settings, syncAlways: false });
  const client = new ArrwClient({ address: system.address, timeoutMs: 120_000 });
  try {
    await throughput(client, jobs);
    const before = await rates(client, jobs, rounds);
    const sleep = { seconds: 3_600n, nanos: 0 };
    const key = { concurrencyKey: "bench" };
    const holder = await client.submit({ ...echo({ message: "holder", sleep }), ...key });
    await submit(client, waiting, { ...echo({ message: "waiting" }), ...key });
    await pause(6_000);
    const during = await rates(client, jobs, rounds);
    console.log(
      `alone ${before} jobs/s, with ${waiting} behind one key ${during} jobs/s: ratio ${ratio(during, before)}`,
    );
    console.log(`scheduler ${rssOf(system)}`);
    const request = { filter: { types: ["echo"] }, limit: 10_000 };
    await client.cancel(holder.jobId);
    for (let more = true; more; ) more = (await client.cancelJobs(request)).hasMore;
    const runAt = new Date(Date.now() + 86_400_000);
    await submit(client, waiting, { ...echo({ message: "scheduled" }), runAt });
    await pause(10_000);
    await idle(system, waiting, Number(values["idle-seconds"]));
  } finally {
    client.close();
    await system.stop();
  }
}

const ratio = (a: number, b: number): string => (a / b).toFixed(2);
const echo = (value: object) => ({ spec: { spec: { $case: "echo" as const, value } } });

async function rates(client: ArrwClient, jobs: number, rounds: number): Promise<number> {
  const all: number[] = [];
  for (let round = 0; round < rounds; round++) all.push(jobs / (await throughput(client, jobs)));
  return Math.round(median(all));
}

/** Seconds from the first call until all have completed. */
async function throughput(client: ArrwClient, jobs: number): Promise<number> {
  const wanted = (await client.stats()).completedJobs + BigInt(jobs);
  const startedAt = performance.now();
  await submit(client, jobs, echo({ message: "x".repeat(150) }));
  while ((await client.stats()).completedJobs < wanted) await pause(10);
  return (performance.now() - startedAt) / 1000;
}

async function submit(client: ArrwClient, jobs: number, request: object): Promise<void> {
  let left = jobs;
  const work = async (): Promise<void> => {
    while (left > 0) {
      const count = Math.min(PER_CALL, left);
      left -= count;
      const results = await client.submitAll(Array.from({ length: count }, () => request));
      const failed = results.find(({ outcome }) => outcome?.$case !== "job");
      if (failed) throw new Error(`a submit failed: ${JSON.stringify(failed.outcome?.value)}`);
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT_CALLS }, work));
}

async function idle(system: System, waiting: number, seconds: number): Promise<void> {
  const before = cpuOf(system);
  await pause(seconds * 1000);
  const shares = [...cpuOf(system)]
    .filter(([name]) => name !== "client")
    .map(([name, us]) => [name, (us - (before.get(name) ?? 0)) / (seconds * 10_000)] as const);
  const text = shares.map(([name, share]) => `${name} ${share.toFixed(2)} %`).join(", ");
  const all = shares.reduce((sum, [, share]) => sum + share, 0);
  console.log(`idle with ${waiting} scheduled jobs, CPU of one core: ${text}; all ${all.toFixed(2)} %`);
}

function rssOf(system: System): string {
  const status = readFileSync(`/proc/${system.pid("scheduler")}/status`, "utf8");
  return /RssAnon:\s+\d+ kB/.exec(status)?.[0] ?? "";
}
