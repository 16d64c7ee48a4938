import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { describeExit, launchChild } from "../../../cli/child.ts";
import type { Running } from "../../../cli/supervised.ts";

export interface ProcessOptions {
  readonly name: string;
  readonly main: URL;
  readonly env: NodeJS.ProcessEnv;
  readonly onLine: (line: string) => void;
  /** It ended and nobody had killed it. */
  readonly onExit: (how: string, wasReady: boolean, lastLines: readonly string[]) => void;
}

const READY_MS = 60_000;
const KEPT_LINES = 40;
const RESTART_MS = 500;
const MAX_FROZEN_S = 60;
const STOP_MS = 8_000;

/** A service as a process that the test kills, freezes and starts again. One that ends by itself is started again, too. */
export class ServiceProcess {
  readonly name: string;
  readonly #options: ProcessOptions;
  readonly #lines: string[] = [];
  #running: Running | undefined;
  #wanted = false;
  #ready = false;
  #thaw: ChildProcess | undefined;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get isReady(): boolean {
    return this.#ready;
  }

  /** Resolves when it is ready. @throws when it is not, within a minute */
  async start(): Promise<void> {
    this.#wanted = true;
    const deadline = performance.now() + READY_MS;
    await this.#launch();
    while (!this.#ready) {
      if (!this.#wanted) return;
      if (performance.now() > deadline) {
        throw new Error(`${this.name} is not ready: ${this.#lines.slice(-5).join("\n")}`);
      }
      await sleep(20);
    }
  }

  /** SIGKILL; resolves when it is gone. It stays down until `start`. */
  async kill(): Promise<void> {
    this.#wanted = false;
    this.#ready = false;
    const running = this.#running;
    running?.kill("SIGKILL");
    await running?.exited;
  }

  /** SIGSTOP. Should this process die, the other one goes on after a minute. */
  freeze(): void {
    const pid = this.#running?.pid;
    if (!pid) return;
    const script = `sleep ${MAX_FROZEN_S}; kill -CONT ${pid}`;
    this.#thaw = spawn("sh", ["-c", script], { detached: true, stdio: "ignore" });
    this.#thaw.unref();
    this.#running?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#running?.kill("SIGCONT");
    if (this.#thaw?.pid) {
      try {
        process.kill(-this.#thaw.pid, "SIGKILL");
      } catch {
        // It has done its work.
      }
    }
    this.#thaw = undefined;
  }

  /** SIGTERM, then SIGKILL. */
  async stop(): Promise<void> {
    this.#wanted = false;
    this.#ready = false;
    this.thaw();
    const running = this.#running;
    if (!running) return;
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), STOP_MS);
    await running.exited;
    clearTimeout(timer);
  }

  async #launch(): Promise<void> {
    const { name, main, env } = this.#options;
    const onLine = (line: string): void => {
      this.#lines.push(line);
      if (this.#lines.length > KEPT_LINES) this.#lines.shift();
      this.#options.onLine(line);
    };
    const running = await launchChild({ name, main, env, onLine });
    this.#running = running;
    running.ready.then(
      () => {
        if (this.#running === running && this.#wanted) this.#ready = true;
      },
      // Its exit says the same.
      () => undefined,
    );
    void running.exited.then((exit) => {
      if (this.#running !== running) return;
      this.#running = undefined;
      const wasReady = this.#ready;
      this.#ready = false;
      if (!this.#wanted) return;
      this.#options.onExit(describeExit(exit), wasReady, [...this.#lines]);
      void sleep(RESTART_MS).then(() => {
        if (this.#wanted && !this.#running) return this.#launch();
      });
    });
  }
}
