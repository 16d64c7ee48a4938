import type { Worker as Thread } from "node:worker_threads";
import { once, type Part } from "../../platform/lifecycle.ts";
import { Gauge, type Registry } from "../../platform/metrics.ts";
import type { NatsAccess } from "../../platform/nats/access.ts";
import { startThread } from "../../platform/thread.ts";
import type { FromThread, ThreadData, ToThread } from "./heartbeat-messages.ts";

export interface HeartbeatOptions {
  readonly natsAccess: NatsAccess;
  readonly logLevel: string;
  readonly workerId: string;
  /** The main loop may stand still for so long before the process is killed. Default 30,000. */
  readonly stallMs?: number;
  readonly registry: Registry;
  /** The state as of now, as an encoded `Heartbeat`. */
  readonly encode: () => Uint8Array;
  /** The scheduler's encoded `HeartbeatReply`. */
  readonly onReply: (reply: Uint8Array) => void;
  /** NATS is out of reach for so long that leases may pass to others. */
  readonly onCutOff: () => void;
  /** The thread has died: without it the worker is of no use. */
  readonly onDied: (error: Error) => void;
}

const STALL_MS = 30_000;
const MIN_INTERVAL_MS = 100;
const STOP_TIMEOUT_MS = 1_500;

/** The main thread's side of the heartbeat thread. */
export class Heartbeat implements Part {
  readonly name = "heartbeat";
  readonly #options: HeartbeatOptions;
  #thread: Thread | undefined;
  #exited: Promise<void> | undefined;
  #sentAtMs = 0;
  #soon: NodeJS.Timeout | undefined;
  #repliedAtMs: number | undefined;
  #stopping = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    new Gauge({
      name: "arrw_worker_heartbeat_age_seconds",
      help: "Time since the scheduler answered a heartbeat",
      registers: [options.registry],
      collect: gaugeOf(() => this.replyAgeMs / 1000),
    });
  }

  /** Since the scheduler's last answer; Infinity before the first. */
  get replyAgeMs(): number {
    return this.#repliedAtMs === undefined ? Number.POSITIVE_INFINITY : performance.now() - this.#repliedAtMs;
  }

  /** Resolves when the thread is connected and the first heartbeat is sent. */
  async start(): Promise<void> {
    const { natsAccess, logLevel, workerId, stallMs = STALL_MS, encode } = this.#options;
    const data: ThreadData = { natsAccess, logLevel, workerId, stallMs, heartbeat: encode() };
    const thread = startThread("./heartbeat-thread", import.meta.url, { workerData: data });
    this.#thread = thread;
    this.#exited = new Promise((resolve) => thread.once("exit", () => resolve()));
    await new Promise<void>((resolve, reject) => {
      thread.on("message", (message: FromThread) => {
        if (message.kind === "ready") resolve();
        else this.#onMessage(message);
      });
      thread.once("error", reject);
      void this.#exited?.then(() => reject(new Error("the heartbeat thread ended before it was connected")));
    });
    thread.once("error", (error: unknown) => this.#died(error));
    thread.once("exit", () => this.#died(new Error("the heartbeat thread ended")));
  }

  /** Sends the state soon: at once, but not more often than 10 times a second. */
  beat(): void {
    if (this.#soon || this.#stopping) return;
    const waitMs = this.#sentAtMs + MIN_INTERVAL_MS - performance.now();
    if (waitMs <= 0) this.#send();
    else this.#soon = setTimeout(() => this.#send(), waitMs);
  }

  /** Sends the last state and ends the thread. */
  readonly stop = once(async () => {
    this.#stopping = true;
    clearTimeout(this.#soon);
    const thread = this.#thread;
    if (!thread) return;
    this.#post({ kind: "stop", heartbeat: this.#options.encode() });
    const timer = setTimeout(() => void thread.terminate(), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
  });

  #onMessage(message: Exclude<FromThread, { kind: "ready" }>): void {
    if (message.kind === "ping") this.#send();
    else if (message.kind === "cutOff") this.#options.onCutOff();
    else {
      this.#repliedAtMs = performance.now();
      this.#options.onReply(message.reply);
    }
  }

  #send(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    if (this.#stopping) return;
    this.#sentAtMs = performance.now();
    this.#post({ kind: "heartbeat", heartbeat: this.#options.encode() });
  }

  #post(message: ToThread): void {
    this.#thread?.postMessage(message);
  }

  #died(error: unknown): void {
    if (this.#stopping) return;
    this.#options.onDied(error instanceof Error ? error : new Error(String(error)));
  }
}

/** A gauge's `collect`, which prom-client calls with the gauge as `this`. */
function gaugeOf(read: () => number): (this: Gauge) => void {
  return function collect(): void {
    const value = read();
    if (Number.isFinite(value)) this.set(value);
  };
}
