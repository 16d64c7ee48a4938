import { parentPort, workerData } from "node:worker_threads";
import { createLog, type Logger, unbufferedStdout } from "../../platform/log.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import type { FromThread, ThreadData, ToThread } from "./heartbeat-messages.ts";

/**
 * Sends heartbeats from a thread and a connection of its own, so that a busy main loop doesn't look like a dead worker.
 * It tells the main thread when NATS has been out of reach for too long, and kills a process whose main loop stands
 * still: such a worker would hold its leases for ever.
 */

const INTERVAL_MS = 1_000;
const CHECK_MS = 250;
const CUT_OFF_MS = 4_000;
/** Time the main thread has to give its newest state before the last one is sent again. */
const ANSWER_MS = 250;
const REPLY_TIMEOUT_MS = 2_000;
const LAST_REPLY_TIMEOUT_MS = 500;

class HeartbeatThread {
  readonly #nats: Nats;
  readonly #log: Logger;
  readonly #stalledIntervals: number;
  #heartbeat: Uint8Array;
  #timers: NodeJS.Timeout[] = [];
  #resend: NodeJS.Timeout | undefined;
  #roundTripAtMs = performance.now();
  #cutOff = false;
  #pinged = false;
  /** Intervals since the main thread answered; counted, because a suspended machine stops clocks unevenly. */
  #unanswered = 0;

  constructor({ natsAccess, logLevel, workerId, stallMs, heartbeat }: ThreadData) {
    this.#log = createLog("worker", logLevel, unbufferedStdout()).child({
      thread: "heartbeat",
      worker_id: workerId,
    });
    this.#nats = new Nats({ ...natsAccess, name: "arrw-worker-heartbeat", log: this.#log });
    this.#stalledIntervals = Math.ceil(stallMs / INTERVAL_MS);
    this.#heartbeat = heartbeat;
  }

  async run(): Promise<void> {
    await this.#nats.start();
    this.#roundTripAtMs = performance.now();
    this.#nats.onReconnect(() => this.#tick());
    this.#timers = [
      setInterval(() => this.#tick(), INTERVAL_MS),
      setInterval(() => this.#checkLink(), CHECK_MS),
    ];
    post({ kind: "ready" });
    void this.#send(REPLY_TIMEOUT_MS);
    this.#roundTrip();
  }

  async onMessage(message: ToThread): Promise<void> {
    this.#pinged = false;
    this.#unanswered = 0;
    clearTimeout(this.#resend);
    this.#heartbeat = message.heartbeat;
    if (message.kind === "heartbeat") return this.#send(REPLY_TIMEOUT_MS);
    for (const timer of this.#timers) clearInterval(timer);
    await this.#send(LAST_REPLY_TIMEOUT_MS);
    await this.#nats.stop();
    // Ends this thread, not the process, whatever timers the client library has left.
    process.exit();
  }

  #tick(): void {
    this.#roundTrip();
    if (this.#pinged) {
      this.#unanswered += 1;
      if (this.#unanswered >= this.#stalledIntervals) this.#killProcess();
      void this.#send(REPLY_TIMEOUT_MS);
      return;
    }
    this.#pinged = true;
    post({ kind: "ping" });
    this.#resend = setTimeout(() => void this.#send(REPLY_TIMEOUT_MS), ANSWER_MS);
  }

  #roundTrip(): void {
    const sentAtMs = performance.now();
    this.#nats.flush().then(
      () => {
        this.#roundTripAtMs = Math.max(this.#roundTripAtMs, sentAtMs);
        this.#cutOff = false;
      },
      () => undefined,
    );
  }

  #checkLink(): void {
    if (this.#cutOff || performance.now() - this.#roundTripAtMs < CUT_OFF_MS) return;
    this.#cutOff = true;
    this.#log.warn("no round trip to NATS for 4 s: all handlers are stopped");
    post({ kind: "cutOff" });
  }

  async #send(timeoutMs: number): Promise<void> {
    if (this.#nats.unready() !== undefined) return;
    try {
      const reply = await this.#nats.request(Subject.heartbeat, this.#heartbeat, timeoutMs);
      post({ kind: "reply", reply });
    } catch (error) {
      // A scheduler that is away is no reason to stop: leases wait for its successor.
      this.#log.debug({ err: error }, "no reply to a heartbeat");
    }
  }

  #killProcess(): void {
    this.#log.fatal(`the main loop has stood still for ${this.#stalledIntervals} s: the process is killed`);
    process.kill(process.pid, "SIGKILL");
  }
}

function post(message: FromThread): void {
  parentPort?.postMessage(message);
}

const thread = new HeartbeatThread(workerData as ThreadData);
parentPort?.on("message", (message: ToThread) => void thread.onMessage(message));
await thread.run();
