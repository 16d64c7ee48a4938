import { connect } from "../../../platform/grpc/client.ts";
import { silentLog } from "../../../platform/log.ts";
import { createRegistry } from "../../../platform/metrics.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { IndexServiceClient } from "../../../proto/gen/arrwdb/index/v1/index.ts";
import { echo } from "../../../services/worker/handlers/echo.ts";
import { HandlerRegistry } from "../../../services/worker/registry.ts";
import { Worker, type WorkerOptions } from "../../../services/worker/worker.ts";
import { startTestNats, type TestNats } from "../../support/nats.ts";
import type { Cleanup } from "../../support/temp.ts";
import { FakeScheduler } from "./fake-scheduler.ts";

export interface Harness {
  readonly server: TestNats;
  readonly scheduler: FakeScheduler;
  readonly worker: Worker;
  readonly workerNats: Nats;
}

export type HarnessOptions = Partial<WorkerOptions> & {
  readonly indexAddress?: string;
  /** Adds handlers that need the worker's connection. */
  readonly register?: (handlers: HandlerRegistry, nats: Nats, index: IndexServiceClient) => void;
};

/** A nats-server, a scheduler of the test's making and a real worker with an echo handler. */
export async function startHarness(test: Cleanup, options: HarnessOptions = {}): Promise<Harness> {
  const t = reversed(test);
  const server = await startTestNats(t);
  const scheduler = await FakeScheduler.start(t, server.url);
  const { worker, nats } = await startWorker(t, server.url, options);
  await scheduler.workerId();
  return { server, scheduler, worker, workerNats: nats };
}

/** node:test runs what is to be done after a test in the order given; parts must stop before what they stand on. */
export function reversed(test: Cleanup): Cleanup {
  const runs: (() => Promise<void> | void)[] = [];
  test.after(async () => {
    for (const run of runs.reverse()) await run();
  });
  return { after: (run) => void runs.push(run) };
}

/** A worker in this process. */
export async function startWorker(
  t: Cleanup,
  url: string,
  options: HarnessOptions = {},
): Promise<{ worker: Worker; nats: Nats }> {
  const { indexAddress, register, ...rest } = options;
  const nats = new Nats({ url, name: "worker", log: silentLog() });
  const index = connect(IndexServiceClient, indexAddress ?? "127.0.0.1:1");
  await nats.start();
  const handlers = new HandlerRegistry().add(echo);
  register?.(handlers, nats, index);
  const worker = new Worker({
    natsAccess: { url },
    logLevel: "silent",
    slots: 4,
    drainTimeoutMs: 100,
    cancelGraceMs: 500,
    nats,
    index,
    handlers,
    log: silentLog(),
    registry: createRegistry("worker"),
    onDied: (error) => {
      throw error;
    },
    ...rest,
  });
  t.after(async () => {
    await worker.stop();
    await nats.stop();
    index.close();
  });
  await worker.start();
  return { worker, nats };
}
