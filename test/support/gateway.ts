import { type Client, credentials } from "@grpc/grpc-js";
import type { Part } from "../../platform/lifecycle.ts";
import { silentLog } from "../../platform/log.ts";
import { Nats } from "../../platform/nats/connection.ts";
import { ensureStreams } from "../../platform/nats/streams.ts";
import { JobServiceClient } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { LibraryServiceClient } from "../../proto/gen/arrwdb/v1/libraries.ts";
import { loadGatewayConfig } from "../../services/gateway/config.ts";
import { createGateway } from "../../services/gateway/gateway.ts";
import { FakeIndex } from "./fake-index.ts";
import { FakeScheduler } from "./fake-scheduler.ts";
import { startTestNats, type TestNats } from "./nats.ts";
import type { Cleanup } from "./temp.ts";

export interface TestGateway {
  readonly address: string;
  readonly probes: string;
  readonly jobs: JobServiceClient;
  readonly libraries: LibraryServiceClient;
  readonly scheduler: FakeScheduler;
  readonly index: FakeIndex;
  readonly natsServer: TestNats;
  /** The test's own connection. */
  readonly nats: Nats;
  /** Twice is fine. */
  stop(): Promise<void>;
}

const STREAM_BYTES = 64 * 1024 * 1024;

/**
 * A gateway in this process with a real nats-server, a fake scheduler and a fake index; all stopped after the test.
 * `schedulers` are further addresses that it knows.
 */
export async function startTestGateway(
  test: Cleanup,
  schedulers: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<TestGateway> {
  const t = reversed(test);
  const natsServer = await startTestNats(t);
  const nats = new Nats({ url: natsServer.url, name: "test", log: silentLog() });
  await nats.start();
  t.after(() => nats.stop());
  await ensureStreams(nats, { journalMaxBytes: STREAM_BYTES, objectsMaxBytes: STREAM_BYTES, replicas: 1 });
  const scheduler = await new FakeScheduler(nats).start(t);
  const index = await new FakeIndex().start(t);
  const gateway = await startGateway(t, {
    natsUrl: natsServer.url,
    schedulers: [scheduler.address, ...schedulers],
    index: index.address,
    env,
  });
  return { ...gateway, scheduler, index, natsServer, nats };
}

export interface GatewayOptions {
  readonly natsUrl: string;
  readonly schedulers: readonly string[];
  /** Default: one that is not there. */
  readonly index?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Further settings. */
  readonly env?: Readonly<Record<string, string>>;
}

export type StartedGateway = Pick<TestGateway, "address" | "probes" | "jobs" | "libraries" | "stop">;

/** A gateway in this process, stopped after the test. */
export async function startGateway(t: Cleanup, options: GatewayOptions): Promise<StartedGateway> {
  const config = loadGatewayConfig({
    ARRW_NATS_URL: options.natsUrl,
    ARRW_GATEWAY_GRPC_PORT: String(options.port ?? 0),
    ARRW_GATEWAY_HTTP_PORT: "0",
    ARRW_SCHEDULER_ADDRESS: options.schedulers.join(","),
    ARRW_INDEX_ADDRESS: options.index ?? "127.0.0.1:1",
    ARRW_JOURNAL_MAX_BYTES: String(STREAM_BYTES),
    ARRW_OBJECTS_MAX_BYTES: String(STREAM_BYTES),
    ...options.env,
  });
  const gateway = createGateway(config, silentLog());
  const started: Part[] = [];
  const stop = async (): Promise<void> => {
    for (const each of started.splice(0).reverse()) await each.stop();
  };
  t.after(stop);
  for (const each of gateway.parts) {
    started.push(each);
    await each.start();
  }
  const address = `127.0.0.1:${gateway.server.port}`;
  const jobs = new JobServiceClient(address, credentials.createInsecure(), CLIENT_OPTIONS);
  const libraries = new LibraryServiceClient(address, credentials.createInsecure(), CLIENT_OPTIONS);
  t.after(() => {
    for (const client of [jobs, libraries] as Client[]) client.close();
  });
  const probes = `http://127.0.0.1:${gateway.http.port}`;
  return { address, probes, jobs, libraries, stop };
}

/** Things are stopped in reverse order, whatever the test runner's own order. */
function reversed(test: Cleanup): Cleanup {
  const runs: (() => Promise<void> | void)[] = [];
  test.after(async () => {
    for (const run of runs.reverse()) await run();
  });
  return { after: (run) => void runs.push(run) };
}

const CLIENT_OPTIONS = {
  "grpc.max_receive_message_length": 64 * 1024 * 1024,
  "grpc.max_send_message_length": 64 * 1024 * 1024,
};
