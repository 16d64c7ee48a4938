import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Histogram, type Registry } from "../../platform/metrics.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";

export interface OutcomesOptions {
  readonly nats: Pick<Nats, "append" | "onReconnect">;
  readonly workerId: string;
  readonly log: Logger;
  readonly registry: Registry;
}

interface Pending {
  /** An encoded `Outcome`. */
  readonly bytes: Uint8Array;
  readonly onStored: () => void;
}

const MAX_BATCH_BYTES = 256 * 1024;
const APPEND_TIMEOUT_MS = 2_000;
const FIRST_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;

/**
 * Publishes outcomes to the OUTCOMES stream, in order, until they are acknowledged, also while NATS is away. One
 * batch is in flight at a time: an outcome alone goes at once, what gathers meanwhile goes together. A repeated batch
 * may be stored twice; the scheduler ignores the second. What waits is bounded by the leases held: each has at most
 * one outcome and one checkpoint here.
 */
export class Outcomes implements Part {
  readonly name = "outcomes";
  readonly #options: OutcomesOptions;
  readonly #batchSize: Histogram;
  #queue: Pending[] = [];
  #sending = false;
  #stopped = false;
  #idle: (() => void)[] = [];
  #endPause: (() => void) | undefined;
  #forgetReconnect: (() => void) | undefined;

  constructor(options: OutcomesOptions) {
    this.#options = options;
    this.#batchSize = new Histogram({
      name: "arrw_worker_outcome_batch_size",
      help: "Outcomes in one message",
      buckets: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000],
      registers: [options.registry],
    });
  }

  async start(): Promise<void> {
    this.#forgetReconnect = this.#options.nats.onReconnect(() => this.#endPause?.());
  }

  /** Gives up what is not stored yet; `flush` before. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forgetReconnect?.();
    this.#endPause?.();
  }

  /** Takes an encoded `Outcome`; `onStored` is called when JetStream has it. */
  add(bytes: Uint8Array, onStored: () => void): void {
    this.#queue.push({ bytes, onStored });
    if (this.#sending) return;
    this.#sending = true;
    // All that ends within this turn goes into the first batch.
    queueMicrotask(() => void this.#send());
  }

  /** Outcomes not stored yet. */
  get waiting(): number {
    return this.#queue.length;
  }

  /** Resolves when all is stored, or after `timeoutMs`; says which. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (!this.#sending) return true;
    let timer: NodeJS.Timeout | undefined;
    const idle = new Promise<boolean>((resolve) => this.#idle.push(() => resolve(true)));
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), timeoutMs);
    });
    const stored = await Promise.race([idle, late]);
    clearTimeout(timer);
    return stored;
  }

  async #send(): Promise<void> {
    while (this.#queue.length > 0 && !this.#stopped) {
      const count = this.#batchLength();
      const batch = count === this.#queue.length ? this.#queue : this.#queue.slice(0, count);
      const message = encodeBatch(this.#options.workerId, batch);
      // What comes while the batch is in flight must stay behind it.
      this.#queue = count === this.#queue.length ? [] : this.#queue.slice(count);
      await this.#append(message);
      if (this.#stopped) break;
      this.#batchSize.observe(count);
      for (const { onStored } of batch) onStored();
    }
    this.#sending = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #batchLength(): number {
    let bytes = 0;
    let count = 0;
    for (const pending of this.#queue) {
      bytes += pending.bytes.length;
      if (count > 0 && bytes > MAX_BATCH_BYTES) break;
      count += 1;
    }
    return count;
  }

  async #append(message: Uint8Array): Promise<void> {
    const { nats, log } = this.#options;
    for (let pauseMs = FIRST_PAUSE_MS; !this.#stopped; pauseMs = Math.min(MAX_PAUSE_MS, pauseMs * 2)) {
      try {
        await nats.append(Subject.outcomes, message, { timeoutMs: APPEND_TIMEOUT_MS });
        return;
      } catch (error) {
        const level = pauseMs === FIRST_PAUSE_MS ? "warn" : "debug";
        log[level]({ err: error }, "outcomes can't be stored now; trying again");
      }
      await this.#pause(pauseMs);
    }
  }

  /** Until the time is over or NATS is back. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** An `OutcomeBatch` of outcomes that are encoded already. */
function encodeBatch(workerId: string, batch: readonly Pending[]): Uint8Array {
  const writer = new BinaryWriter().uint32(WORKER_ID_TAG).string(workerId);
  for (const { bytes } of batch) writer.uint32(OUTCOMES_TAG).bytes(bytes);
  return writer.finish();
}

/** Field numbers of OutcomeBatch, length-delimited. */
const WORKER_ID_TAG = (1 << 3) | 2;
const OUTCOMES_TAG = (2 << 3) | 2;
