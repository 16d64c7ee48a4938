import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { freePort } from "../platform/free-port.ts";
import { connect, unary } from "../platform/grpc/client.ts";
import { SchedulerServiceClient } from "../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { cpuUs } from "./processes.ts";

const READY_TIMEOUT_MS = 600_000;
const POLL_MS = 20;

/** A scheduler alone, at fixed ports, that may be ended and started again. */
export class SchedulerProcess {
  readonly client: SchedulerServiceClient;
  readonly #env: NodeJS.ProcessEnv;
  readonly #execArgv: readonly string[];
  #child: ChildProcess | undefined;

  private constructor(port: number, env: NodeJS.ProcessEnv, execArgv: readonly string[]) {
    this.client = connect(SchedulerServiceClient, `127.0.0.1:${port}`);
    this.#env = { ...env, ARRW_SCHEDULER_GRPC_PORT: String(port) };
    this.#execArgv = execArgv;
  }

  static async at(
    settings: Readonly<Record<string, string>>,
    execArgv: readonly string[] = [],
  ): Promise<SchedulerProcess> {
    const ports = { ARRW_SCHEDULER_HTTP_PORT: String(await freePort()) };
    const env = { PATH: process.env.PATH, ARRW_LOG_LEVEL: "warn", ...ports, ...settings };
    return new SchedulerProcess(await freePort(), env, execArgv);
  }

  /** @returns seconds from the launch until it leads */
  async start(): Promise<number> {
    const startedAt = performance.now();
    this.#child = fork(join(import.meta.dirname, "../services/scheduler/main.ts"), [], {
      env: this.#env,
      execArgv: ["--import", "tsx", ...this.#execArgv],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    for (;;) {
      if (this.#child.exitCode !== null) throw new Error("the scheduler ended");
      const stats = unary(
        this.client,
        this.client.getQueueStats,
        { visibleLibraries: [] },
        { timeoutMs: 1_000 },
      );
      const reply = await stats.catch(() => undefined);
      // A standby answers, too, while nobody leads.
      if (reply?.stats?.staleSequence === 0n) return (performance.now() - startedAt) / 1000;
      if (performance.now() - startedAt > READY_TIMEOUT_MS) throw new Error("the scheduler does not lead");
      await pause(POLL_MS);
    }
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  /** CPU time in s so far. */
  cpuSeconds(): number {
    return cpuUs(this.#child?.pid ?? 0) / 1e6;
  }

  /** Resident memory in MB: its own, and that of files that are mapped (Linux). */
  memory(): { readonly rssAnonMb: number; readonly rssFileMb: number } {
    const status = readFileSync(`/proc/${this.#child?.pid}/status`, "latin1");
    const mb = (name: string): number =>
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024;
    return { rssAnonMb: Math.round(mb("RssAnon")), rssFileMb: Math.round(mb("RssFile")) };
  }
}
