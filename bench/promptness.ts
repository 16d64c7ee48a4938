import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connect, type NatsConnection } from "nats";
import { type System, startSystem } from "../cli/supervisor.ts";
import { ArrwClient } from "../client/index.ts";
import { freePort } from "../platform/free-port.ts";
import { Subject } from "../platform/nats/names.ts";
import { OutcomeBatch, ProgressBatch } from "../proto/gen/arrwdb/worker/v1/worker.ts";
import { percentile } from "./processes.ts";

/**
 * How soon things happen, seen from outside, so every figure has one hop of NATS in it:
 *
 *     npm run bench -- promptness [--seconds 10] [--rates 100,300] [--cancels 200] [--kills 5] [--sync default|always]
 *
 * Submit to handler start: SubmitJob one by one at a fixed rate (open loop), until the outcome of the echo handler, which
 * ends at once, passes on NATS. Cancel: from the call to the outcome of the handler that heard its abort signal. Lost
 * worker: from SIGKILL to the first progress that another worker's handler reports of the job.
 */

const LEASE_TIMEOUT_MS = 6_000;

interface Bench {
  readonly client: ArrwClient;
  readonly system: System;
  readonly taps: Taps;
}

export async function benchPromptness(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seconds: { type: "string", default: "10" },
      rates: { type: "string", default: "100,300" },
      cancels: { type: "string", default: "200" },
      kills: { type: "string", default: "5" },
      sync: { type: "string", default: "default" },
    },
  });
  const settings = {
    ARRW_WORKER_SLOTS: 100,
    ARRW_LOG_LEVEL: "error",
    ARRW_LEASE_TIMEOUT_MS: LEASE_TIMEOUT_MS,
  };
  const system = await startSystem({ temporary: true, settings, syncAlways: values.sync === "always" });
  const client = new ArrwClient({ address: system.address, timeoutMs: 30_000 });
  const taps = await Taps.open(system.natsUrl);
  const bench = { client, system, taps };
  try {
    console.log(`sync ${values.sync}`);
    await submitToStart(bench, 100, 3, "warm-up");
    for (const rate of values.rates.split(",").map(Number)) {
      await submitToStart(bench, rate, Number(values.seconds), `at ${rate}/s`);
    }
    await cancels(bench, Number(values.cancels));
    await kills(bench, Number(values.kills));
  } finally {
    await taps.close();
    client.close();
    await system.stop();
  }
}

const echo = (value: object) => ({ spec: { spec: { $case: "echo" as const, value } } });

async function submitToStart({ client, taps }: Bench, rate: number, seconds: number, name: string) {
  const took: number[] = [];
  const submits: Promise<void>[] = [];
  const begun = performance.now();
  const one = async (): Promise<void> => {
    const message = `${Math.random()}`.padEnd(150, "x");
    const startedAt = performance.now();
    const outcome = taps.result(message);
    await client.submit(echo({ message }));
    took.push((await outcome) - startedAt);
  };
  for (let sent = 0; sent < rate * seconds; sent++) {
    const waitMs = begun + (sent * 1000) / rate - performance.now();
    if (waitMs > 0) await pause(waitMs);
    submits.push(one());
  }
  await Promise.all(submits);
  console.log(`submit to handler start, ${name}: ${shown(took)}`);
}

async function cancels({ client, taps }: Bench, count: number): Promise<void> {
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const sleep = { seconds: 600n, nanos: 0 };
    const { jobId } = await client.submit(echo({ message: "", sleep, steps: 6_000 }));
    await taps.progress(jobId);
    const ended = taps.outcome(jobId);
    const startedAt = performance.now();
    await client.cancel(jobId);
    took.push((await ended) - startedAt);
  }
  console.log(`cancel to abort signal, ${count} cancels: ${shown(took)}`);
}

async function kills({ client, taps, system }: Bench, count: number): Promise<void> {
  const took: number[] = [];
  for (let n = 0; n < count; n++) {
    const { child, workerId } = await startWorker(system, client, taps);
    const sleep = { seconds: 600n, nanos: 0 };
    const labels = { bench: `kill-${n}` };
    // Two jobs go to two workers, whichever is freer first: one of them runs where it is killed.
    let jobId = "";
    while (jobId === "") {
      const job = await client.submit({ ...echo({ message: "", sleep, steps: 6_000 }), labels });
      if ((await taps.progress(job.jobId)).workerId === workerId) jobId = job.jobId;
    }
    const elsewhere = taps.progress(jobId, workerId);
    const exited = once(child, "exit");
    const startedAt = performance.now();
    child.kill("SIGKILL");
    took.push((await elsewhere).atMs - startedAt);
    await client.cancelJobs({ filter: { labels } });
    await exited;
  }
  const aim = LEASE_TIMEOUT_MS + 1_000;
  console.log(`worker SIGKILLed to handler running elsewhere, ${count} times: ${shown(took)} (aim ${aim})`);
}

/** Another worker process; resolves when the scheduler knows it. */
async function startWorker(
  system: System,
  client: ArrwClient,
  taps: Taps,
): Promise<{ child: ChildProcess; workerId: string }> {
  const index = system.addresses.find(({ setting }) => setting === "ARRW_INDEX_GRPC_PORT")?.address ?? "";
  const before = new Set((await client.queues.workers()).map(({ workerId }) => workerId));
  const child = fork(join(import.meta.dirname, "../services/worker/main.ts"), [], {
    env: {
      PATH: process.env.PATH,
      ARRW_NATS_URL: taps.natsUrl,
      ARRW_INDEX_ADDRESS: index,
      ARRW_WORKER_HTTP_PORT: String(await freePort()),
      ARRW_WORKER_SLOTS: "1000",
      ARRW_LOG_LEVEL: "error",
    },
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  for (;;) {
    const fresh = (await client.queues.workers()).find(({ workerId }) => !before.has(workerId));
    if (fresh) return { child, workerId: fresh.workerId };
    await pause(100);
  }
}

/** Listens to what workers say. */
class Taps {
  readonly natsUrl: string;
  readonly #connection: NatsConnection;
  readonly #results = new Map<string, (atMs: number) => void>();
  readonly #outcomes = new Map<string, (atMs: number) => void>();
  readonly #progress = new Map<
    string,
    { but: string; resolve: (seen: { atMs: number; workerId: string }) => void }
  >();

  private constructor(natsUrl: string, connection: NatsConnection) {
    this.natsUrl = natsUrl;
    this.#connection = connection;
    connection.subscribe(Subject.outcomes, { callback: (_, { data }) => this.#onOutcomes(data) });
    connection.subscribe(Subject.progress, { callback: (_, { data }) => this.#onProgress(data) });
  }

  static async open(natsUrl: string): Promise<Taps> {
    const taps = new Taps(natsUrl, await connect({ servers: natsUrl }));
    await taps.#connection.flush();
    return taps;
  }

  /** When an echo with this message has returned. */
  result(message: string): Promise<number> {
    return new Promise((resolve) => this.#results.set(message, resolve));
  }

  /** When any outcome of the job passes. */
  outcome(jobId: string): Promise<number> {
    return new Promise((resolve) => this.#outcomes.set(jobId, resolve));
  }

  /** The next progress of the job, of another worker than `but`. */
  progress(jobId: string, but = ""): Promise<{ atMs: number; workerId: string }> {
    return new Promise((resolve) => this.#progress.set(jobId, { but, resolve }));
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  #onOutcomes(data: Uint8Array): void {
    const atMs = performance.now();
    for (const { jobId, outcome } of OutcomeBatch.decode(data).outcomes) {
      this.#outcomes.get(jobId)?.(atMs);
      this.#outcomes.delete(jobId);
      const result = outcome?.$case === "completed" ? outcome.value.result?.result : undefined;
      if (result?.$case !== "echo") continue;
      this.#results.get(result.value.message)?.(atMs);
      this.#results.delete(result.value.message);
    }
  }

  #onProgress(data: Uint8Array): void {
    const atMs = performance.now();
    const { workerId, reports } = ProgressBatch.decode(data);
    for (const { jobId } of reports) {
      const waiting = this.#progress.get(jobId);
      if (!waiting || waiting.but === workerId) continue;
      this.#progress.delete(jobId);
      waiting.resolve({ atMs, workerId });
    }
  }
}

function shown(values: number[]): string {
  values.sort((a, b) => a - b);
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => percentile(values, share).toFixed(2));
  return `p50 ${p50}, p95 ${p95}, p99 ${p99}, max ${percentile(values, 1).toFixed(2)} ms`;
}
