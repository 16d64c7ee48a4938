import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { check } from "./checker.ts";
import { Driver } from "./driver/driver.ts";
import { FaultInjector } from "./faults.ts";
import type { Entry, Violation } from "./history.ts";
import type { Plan } from "./plan.ts";
import { clockMs, Recorder } from "./recorder.ts";
import { settle } from "./settle.ts";
import { TortureSystem } from "./system/torture-system.ts";

/** Where the services' sources are. */
export const OWN_SOURCE = new URL("../../", import.meta.url);

export interface Outcome {
  readonly violations: readonly Violation[];
  readonly entries: readonly Entry[];
  /** Folder with history.ndjson and the logs of all processes; kept when there are violations. */
  readonly folder: string;
}

export interface Shape {
  readonly schedulers: number;
  readonly workers: number;
  readonly workerSlots: number;
  readonly libraries: number;
}

export interface Bench {
  readonly system: TortureSystem;
  readonly driver: Driver;
  readonly recorder: Recorder;
}

export interface RunOptions {
  readonly shape: Shape;
  /** Default: this source tree. */
  readonly source?: URL;
  readonly settings?: Readonly<Record<string, string>>;
  /** Time for all jobs to end after the last fault; default 90,000. */
  readonly settleTimeoutMs?: number;
  /** Aborted: the run ends at once. */
  readonly signal?: AbortSignal;
  /** Keep history and logs; default: when there are violations. */
  readonly keepFolder?: boolean;
  /** What happens between start and end; faults must be over when it resolves. */
  readonly script: (bench: Bench) => Promise<void>;
}

/** Short times, so that a run sees many leases pass to others: a worker without NATS goes on for 4 s. */
const SETTINGS = {
  ARRW_LEASE_TIMEOUT_MS: "2500",
  ARRW_IMPORT_BATCH_CHUNKS: "8",
  ARRW_CANCEL_GRACE_MS: "3000",
  ARRW_DRAIN_TIMEOUT_MS: "1500",
};
const SETTLE_TIMEOUT_MS = 90_000;

/** Starts a system, runs the script against it, waits until all jobs have ended, and checks what was recorded. */
export async function run(options: RunOptions): Promise<Outcome> {
  const { shape, script, source = OWN_SOURCE, settings = {}, signal } = options;
  const folder = await mkdtemp(join(tmpdir(), "arrw-torture-"));
  mkdirSync(join(folder, "data"));
  const recorder = new Recorder(join(folder, "history.ndjson"));
  const system = new TortureSystem({
    source,
    folder,
    recorder,
    ...shape,
    settings: { ...SETTINGS, ...settings },
  });
  let driver: Driver | undefined;
  let keep = true;
  try {
    await system.start();
    driver = new Driver(system.address, recorder);
    await driver.prepare(shape.libraries);
    await driver.watching.watchAll();
    await script({ system, driver, recorder });
    signal?.throwIfAborted();
    await driver.idle();
    const timeoutMs = options.settleTimeoutMs ?? SETTLE_TIMEOUT_MS;
    await settle({ system, driver, recorder, timeoutMs, workerSlots: shape.workerSlots });
    await driver.stop();
    await recorder.close();
    const violations = check(recorder.entries);
    keep = options.keepFolder ?? violations.length > 0;
    return { violations, entries: recorder.entries, folder };
  } catch (error) {
    throw new Error(`the run came to no end; history and logs: ${folder}`, { cause: error });
  } finally {
    await driver?.stop();
    await system.stop();
    await recorder.close();
    await rm(join(folder, "data"), { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    if (!keep) await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  }
}

/** Runs a plan: each operation and each fault at its time. */
export function runPlan(
  plan: Plan,
  options: Omit<RunOptions, "shape" | "script"> & { readonly onFault?: (text: string) => void },
): Promise<Outcome> {
  const { onFault = () => undefined, signal } = options;
  return run({
    ...options,
    shape: plan,
    script: async ({ system, driver, recorder }) => {
      const faults = new FaultInjector(system, recorder, onFault);
      const startedAtMs = clockMs();
      const steps = [
        ...plan.operations.map((operation, number) => ({
          atMs: operation.atMs,
          begin: () => void driver.begin(operation, number),
        })),
        ...plan.faults.map((fault) => ({ atMs: fault.atMs, begin: () => faults.begin(fault) })),
      ].sort((a, b) => a.atMs - b.atMs);
      for (const { atMs, begin } of steps) {
        await sleep(Math.max(0, startedAtMs + atMs - clockMs()), undefined, signal ? { signal } : {});
        begin();
      }
      await sleep(
        Math.max(0, startedAtMs + plan.durationMs - clockMs()),
        undefined,
        signal ? { signal } : {},
      );
      await faults.idle();
    },
  });
}
