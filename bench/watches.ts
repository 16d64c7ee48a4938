import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type System, startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { cpuUs, latencies } from "./processes.ts";
import type { WatchNews, WatchTask } from "./watch-streams.ts";

/**
 * Many WatchJob streams on one gateway, on one job and on a job each:
 *
 *     npm run bench -- watches [--watches 10000] [--jobs 1,10000] [--clients 2] [--connections 4]
 *
 * What the gateway takes for them, and how long after a job's end all of its watchers know: jobs wait for a time that is
 * far off, all are watched, then all are cancelled with one call.
 */

const PER_CALL = 500;
const DAY_MS = 86_400_000;
const PATIENCE_MS = 120_000;

export async function benchWatches(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      watches: { type: "string", default: "10000" },
      jobs: { type: "string", default: "1,10000" },
      clients: { type: "string", default: "2" },
      connections: { type: "string", default: "4" },
    },
  });
  const watches = Number(values.watches);
  for (const jobs of values.jobs.split(",").map(Number)) {
    await bench(watches, jobs, Number(values.clients), Number(values.connections));
  }
}

async function bench(watches: number, jobs: number, clients: number, connections: number): Promise<void> {
  const settings = { ARRW_LOG_LEVEL: "warn" };
  const system = await startSystem({ temporary: true, settings, syncAlways: false });
  const client = new ArrwClient({ address: system.address, timeoutMs: 60_000 });
  try {
    console.log(`gateway with no watches: ${memory(system)}`);
    const jobIds = await submit(client, jobs);
    const watched = Array.from({ length: watches }, (_, index) => jobIds[index % jobs] ?? "");
    const tasks = Array.from({ length: clients }, (_, share) => ({
      address: system.address,
      jobIds: watched.filter((_id, index) => index % clients === share),
      connections,
    }));
    await watchAndCancel(client, system, tasks, `${watches} watches on ${jobs} job${jobs > 1 ? "s" : ""}`);
  } finally {
    client.close();
    await system.stop();
  }
}

async function watchAndCancel(
  client: ArrwClient,
  system: System,
  tasks: readonly WatchTask[],
  what: string,
): Promise<void> {
  const children = tasks.map(() => fork(join(import.meta.dirname, "watch-streams.ts"), [], OPTIONS));
  try {
    const startedAt = performance.now();
    const busy = gatewayCpuS(system);
    await Promise.all(
      children.map(async (child, index) => {
        child.send(tasks[index] as WatchTask);
        await news(child, "watching");
      }),
    );
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    const cpu = (gatewayCpuS(system) - busy).toFixed(1);
    console.log(
      `${what}: all have the job after ${seconds} s (CPU of the gateway ${cpu} s), ${memory(system)}`,
    );
    const cancelling = gatewayCpuS(system);
    const ended = children.map((child) => news(child, "ended"));
    await client.cancelJobs({ filter: { types: ["echo"] }, limit: 10_000 });
    const all = await Promise.all(ended);
    const delays = all.flatMap(({ delaysMs }) => delaysMs);
    const failures = all.flatMap((each) => each.failures);
    console.log(
      `${what}: ${delays.length} have its end after ${latencies(delays)} (CPU of the gateway ${(gatewayCpuS(system) - cancelling).toFixed(1)} s), ${memory(system)}`,
    );
    for (const failure of failures) console.log(`FAILED: ${failure}`);
  } finally {
    for (const child of children) child.kill();
  }
}

const OPTIONS = {
  execArgv: ["--import", "tsx"],
  stdio: ["ignore", "inherit", "inherit", "ipc"] as ("ignore" | "inherit" | "ipc")[],
};

async function news<K extends WatchNews["kind"]>(
  child: ChildProcess,
  kind: K,
): Promise<Extract<WatchNews, { kind: K }>> {
  for (;;) {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const [message] = (await once(child, "message", { signal })) as [WatchNews];
    if (message.kind === kind) return message as Extract<WatchNews, { kind: K }>;
  }
}

async function submit(client: ArrwClient, jobs: number): Promise<string[]> {
  const jobIds: string[] = [];
  const runAt = new Date(Date.now() + DAY_MS);
  const request = { spec: { spec: { $case: "echo" as const, value: { message: "watched" } } }, runAt };
  while (jobIds.length < jobs) {
    const count = Math.min(PER_CALL, jobs - jobIds.length);
    const results = await client.submitAll(Array.from({ length: count }, () => request));
    for (const { outcome } of results) {
      if (outcome?.$case !== "job") throw new Error(`a submit failed: ${JSON.stringify(outcome?.value)}`);
      jobIds.push(outcome.value.jobId);
    }
  }
  return jobIds;
}

function gatewayCpuS(system: System): number {
  return cpuUs(system.pid("gateway") ?? 0) / 1e6;
}

function memory(system: System): string {
  const status = readFileSync(`/proc/${system.pid("gateway")}/status`, "utf8");
  const mb = (name: string): number =>
    Math.round(Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024);
  return `RSS ${mb("VmRSS")} MB, at most ${mb("VmHWM")} MB`;
}
