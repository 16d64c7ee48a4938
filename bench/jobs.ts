import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { JobStatus } from "../proto/gen/arrwdb/v1/jobs.ts";
import { cpuOf, cpuPerUnit, median, percentile } from "./processes.ts";

/**
 * Throughput and latency of jobs, end to end through gateway, scheduler, JetStream and worker:
 *
 *     npm run bench -- jobs [--jobs 20000] [--slots 100] [--rounds 5] [--rate 100] [--sync default|always]
 *
 * Throughput: echo jobs of 200 B, one client process, SubmitJobs in calls of 500, one worker process; counted when
 * every job is COMPLETED, which is durable and readable by id. Latency: SubmitJob one by one, open loop.
 */

const PER_CALL = 500;
const IN_FLIGHT_CALLS = 8;
const LATENCY_SECONDS = 10;

type Client = ArrwClient;

export async function benchJobs(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      jobs: { type: "string", default: "20000" },
      slots: { type: "string", default: "100" },
      rounds: { type: "string", default: "5" },
      rate: { type: "string", default: "100" },
      sync: { type: "string" },
    },
  });
  const [jobs, slots, rounds, rate] = [values.jobs, values.slots, values.rounds, values.rate].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  for (const sync of values.sync === undefined ? ["default", "always"] : [values.sync]) {
    const settings = { ARRW_WORKER_SLOTS: slots, ARRW_LOG_LEVEL: "warn" };
    const system = await startSystem({ temporary: true, settings, syncAlways: sync === "always" });
    const client = new ArrwClient({ address: system.address, timeoutMs: 120_000 });
    try {
      console.log(`\nsync ${sync}, ${jobs} jobs a round, ${slots} slots`);
      const rates: number[] = [];
      for (let round = 1; round <= rounds; round++) {
        const before = cpuOf(system);
        const seconds = await throughput(client, jobs);
        rates.push(jobs / seconds);
        const cpu = cpuPerUnit(before, cpuOf(system), jobs);
        console.log(`  round ${round}: ${Math.round(jobs / seconds)} jobs/s; CPU us per job: ${cpu}`);
      }
      console.log(`  median ${Math.round(median(rates))} jobs/s`);
      await latency(client, rate);
    } finally {
      client.close();
      await system.stop();
    }
  }
}

/** Seconds from the first call until the last job is COMPLETED. */
async function throughput(client: Client, jobs: number): Promise<number> {
  const completedBefore = (await client.stats()).completedJobs;
  const message = randomBytes(75).toString("hex");
  const request = { spec: { spec: { $case: "echo" as const, value: { message } } } };
  const startedAt = performance.now();
  let left = jobs;
  let last = "";
  const submit = async (): Promise<void> => {
    while (left > 0) {
      const count = Math.min(PER_CALL, left);
      left -= count;
      const results = await client.submitAll(Array.from({ length: count }, () => request));
      for (const { outcome } of results) {
        if (outcome?.$case !== "job") throw new Error(`a submit failed: ${JSON.stringify(outcome?.value)}`);
        last = outcome.value.jobId;
      }
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT_CALLS }, submit));
  const wanted = completedBefore + BigInt(jobs);
  while ((await client.stats()).completedJobs < wanted) await pause(10);
  const seconds = (performance.now() - startedAt) / 1000;
  if ((await client.get(last)).status !== JobStatus.JOB_STATUS_COMPLETED)
    throw new Error(`${last} is not readable`);
  return seconds;
}

/** SubmitJob at a fixed rate, whatever the answers do; the submit call, and from its record to the handler's end. */
async function latency(client: Client, rate: number): Promise<void> {
  const calls: number[] = [];
  const running: Promise<string>[] = [];
  const total = rate * LATENCY_SECONDS;
  const begun = performance.now();
  for (let sent = 0; sent < total; sent++) {
    const wait = begun + (sent * 1000) / rate - performance.now();
    if (wait > 0) await pause(wait);
    running.push(submitOne(client, calls));
  }
  const done: number[] = [];
  for (const jobId of await Promise.all(running)) {
    const job = await client.wait(jobId);
    done.push((job.completedAt?.getTime() ?? 0) - (job.createdAt?.getTime() ?? 0));
  }
  const shown = (values: number[]): string => {
    values.sort((a, b) => a - b);
    return `p50 ${percentile(values, 0.5).toFixed(2)}, p95 ${percentile(values, 0.95).toFixed(2)}, p99 ${percentile(values, 0.99).toFixed(2)} ms`;
  };
  console.log(`  at ${rate}/s: SubmitJob ${shown(calls)}; created to completed (whole ms) ${shown(done)}`);
}

async function submitOne(client: Client, calls: number[]): Promise<string> {
  const request = { spec: { spec: { $case: "echo" as const, value: { message: "x".repeat(150) } } } };
  const startedAt = performance.now();
  const { jobId } = await client.submit(request);
  calls.push(performance.now() - startedAt);
  return jobId;
}
