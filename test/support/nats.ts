import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Nats } from "../../platform/nats/connection.ts";
import { findNatsServer, type NatsServerProcess, startNatsServer } from "../../platform/nats/launcher.ts";
import type { Cleanup } from "./temp.ts";

const NO_ANSWER_MS = 250;

export interface TestNatsOptions {
  /** fsync before every acknowledgement; default false, which tests of logic don't need. */
  readonly syncAlways?: boolean;
  /** Bytes. */
  readonly maxPayload?: number;
  /** See NatsServerOptions. */
  readonly include?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface TestNats {
  /** nats://127.0.0.1:port; the same after `restart`. */
  readonly url: string;
  readonly port: number;
  /** Of the server that runs now. */
  readonly pid: number;
  readonly storeDir: string;
  /** The newest log lines, for a failure's message. */
  readonly log: readonly string[];
  /** Resolves when the process is gone. Default SIGKILL. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and store; stops it first when it runs. */
  restart(): Promise<void>;
  /** Stops it and removes the store; twice is fine. */
  stop(): Promise<void>;
}

/**
 * A nats-server with JetStream of this test alone: free port, temporary store, stopped and removed after the test.
 * Without a test context the caller calls `stop`.
 */
export async function startTestNats(t?: Cleanup, options: TestNatsOptions = {}): Promise<TestNats> {
  const { path: binary } = await findNatsServer();
  const storeDir = await mkdtemp(join(tmpdir(), "arrw-test-nats-"));
  const log: string[] = [];
  const start = (port: number): Promise<NatsServerProcess> =>
    startNatsServer({
      binary,
      storeDir,
      port,
      syncAlways: options.syncAlways ?? false,
      onLog: (line) => {
        log.push(line);
        if (log.length > 200) log.shift();
      },
      ...(options.maxPayload === undefined ? {} : { maxPayload: options.maxPayload }),
      ...(options.include === undefined ? {} : { include: options.include }),
      ...(options.env === undefined ? {} : { env: options.env }),
    });
  const remove = (): Promise<void> =>
    rm(storeDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  let server = await start(0).catch(async (error: unknown) => {
    await remove();
    throw error;
  });
  const { port, url } = server;
  const nats: TestNats = {
    url,
    port,
    storeDir,
    log,
    get pid() {
      return server.pid;
    },
    async kill(signal = "SIGKILL") {
      server.kill(signal);
      await server.exited;
    },
    async restart() {
      await server.stop();
      server = await start(port);
    },
    async stop() {
      await server.stop();
      await remove();
    },
  };
  t?.after(() => nats.stop());
  return nats;
}

/** Whether anybody subscribes to the subject: when nobody does, the server says so at once. */
export async function hasListeners(nats: Pick<Nats, "request">, subject: string): Promise<boolean> {
  try {
    await nats.request(subject, new Uint8Array(), NO_ANSWER_MS);
    return true;
  } catch (error) {
    return ((error as Error).cause as { code?: string } | undefined)?.code !== "503";
  }
}
