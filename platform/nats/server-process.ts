import { type ChildProcess, spawn } from "node:child_process";
import {
  accessSync,
  appendFileSync,
  constants,
  mkdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, relative, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { ArrwError } from "../errors.ts";
import { freePort } from "../free-port.ts";
import { once } from "../lifecycle.ts";
import { acquirePidLock, identify, isAlive, type PidLock, parseIdentity } from "../pid-lock.ts";

export interface NatsServerOptions {
  /** Path of the nats-server binary, see `findNatsServer`. */
  readonly binary: string;
  /** Folder for streams, lock and configuration; made when missing; one server at a time. */
  readonly storeDir: string;
  /** 0 = a free one; default 0. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** fsync before every acknowledgement; default true. False: what was acknowledged survives a kill, not a power cut. */
  readonly syncAlways?: boolean;
  /** Monitoring over HTTP; default none. */
  readonly httpPort?: number;
  /** A file with more of the server's configuration: accounts, for instance. Default none. */
  readonly include?: string;
  /** For what that file takes from the environment; beside this process's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Bytes; default the server's, 1 MiB. */
  readonly maxPayload?: number;
  /** The server's log lines are appended here. */
  readonly logFile?: string;
  readonly onLog?: (line: string) => void;
  /** Time to recover the store; default 120,000. */
  readonly startTimeoutMs?: number;
}

export interface NatsServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface NatsServerProcess {
  /** nats://host:port */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<NatsServerExit>;
  /** Graceful; after 10 s SIGKILL. Resolves when the process is gone; twice is fine. */
  stop(): Promise<void>;
  /** Sends the signal; `exited` tells when it is gone. */
  kill(signal?: NodeJS.Signals): void;
}

const STOP_TIMEOUT_MS = 10_000;
const LOCK = "launcher.lock";
const PID = "nats-server.pid";

/**
 * Starts a nats-server with JetStream and resolves when it accepts clients. It dies with this process, also when this
 * one is killed with SIGKILL.
 * @throws ArrwError FAILED_PRECONDITION: PORT_IN_USE, STORE_UNWRITABLE, STORE_IN_USE, NATS_SERVER_FAILED
 */
export async function startNatsServer(options: NatsServerOptions): Promise<NatsServerProcess> {
  const storeDir = resolve(options.storeDir);
  const lock = takeStore(storeDir);
  try {
    await stopOrphan(storeDir);
    return await launchOnPort(options, storeDir, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

async function launchOnPort(
  options: NatsServerOptions,
  storeDir: string,
  lock: PidLock,
): Promise<NatsServerProcess> {
  const config = join(storeDir, "nats-server.conf");
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port || (await freePort(options.host));
    writeFileSync(config, serverConfig({ ...options, storeDir, port }));
    try {
      return await launch({ ...options, port }, storeDir, config, lock);
    } catch (error) {
      // Somebody else was faster with a port that was only found to be free.
      const again =
        !options.port && attempt < 5 && error instanceof ArrwError && error.reason === "PORT_IN_USE";
      if (!again) throw error;
    }
  }
}

/** The server's configuration file. Limits are far above our own bounds, which refuse first and say why. */
export function serverConfig(options: Omit<NatsServerOptions, "binary">): string {
  const lines = [
    `host: ${JSON.stringify(options.host ?? "127.0.0.1")}`,
    `port: ${options.port || -1}`,
    ...(options.httpPort === undefined
      ? []
      : [`http: ${JSON.stringify(`${options.host ?? "127.0.0.1"}:${options.httpPort}`)}`]),
    ...(options.maxPayload === undefined ? [] : [`max_payload: ${options.maxPayload}`]),
    "jetstream {",
    `  store_dir: ${JSON.stringify(options.storeDir)}`,
    ...((options.syncAlways ?? true) ? ["  sync_interval: always"] : []),
    "  max_memory_store: 1GB",
    "  max_file_store: 16TB",
    "}",
    // The server takes the name as one relative to the file that it stands in.
    ...(options.include === undefined
      ? []
      : [`include ${JSON.stringify(relative(options.storeDir, options.include))}`]),
    "",
  ];
  return lines.join("\n");
}

function takeStore(storeDir: string): PidLock {
  try {
    mkdirSync(storeDir, { recursive: true });
    accessSync(storeDir, constants.W_OK | constants.X_OK);
    return acquirePidLock(join(storeDir, LOCK));
  } catch (error) {
    if (error instanceof ArrwError) {
      const holder = error.metadata.pid ?? "unknown";
      throw failed("STORE_IN_USE", `NATS store ${storeDir} is in use by process ${holder}`);
    }
    const { code, message } = error as NodeJS.ErrnoException;
    throw failed("STORE_UNWRITABLE", `NATS store ${storeDir} can't be written (${code ?? message})`);
  }
}

const failed = (reason: string, message: string): ArrwError =>
  new ArrwError("FAILED_PRECONDITION", message, { reason });

/** A server whose launcher was killed, and its watcher too, would still write to the store. */
async function stopOrphan(storeDir: string): Promise<void> {
  const file = join(storeDir, PID);
  const orphan = (() => {
    try {
      return parseIdentity(readFileSync(file, "utf8"));
    } catch {
      return undefined;
    }
  })();
  if (!orphan) return;
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    if (!isAlive(orphan)) break;
    process.kill(orphan.pid, signal);
    const deadline = performance.now() + STOP_TIMEOUT_MS;
    while (isAlive(orphan) && performance.now() < deadline) await delay(20);
  }
  if (isAlive(orphan)) throw failed("STORE_IN_USE", `nats-server ${orphan.pid} on ${storeDir} doesn't stop`);
  rmSync(file, { force: true });
}

async function launch(
  options: NatsServerOptions,
  storeDir: string,
  config: string,
  lock: PidLock,
): Promise<NatsServerProcess> {
  // A session of its own: a terminal's Ctrl-C must not stop the server before those who use it.
  const child = spawn(options.binary, ["-c", config], {
    detached: true,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const exited = new Promise<NatsServerExit>((settle) => {
    child.once("error", () => settle({ code: null, signal: null }));
    child.once("exit", (code, signal) => settle({ code, signal }));
  });
  const { pid } = child;
  const watcher = pid === undefined ? undefined : watch(pid);
  if (pid !== undefined)
    writeFileSync(join(storeDir, PID), JSON.stringify(identify(pid) ?? { pid, started: "" }));
  void exited.then(() => {
    watcher?.kill("SIGKILL");
    rmSync(join(storeDir, PID), { force: true });
  });
  const stop = once(async () => {
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await exited;
    clearTimeout(timer);
  });
  try {
    const port = await ready(child, exited, options, storeDir);
    void exited.then(() => lock.release());
    return {
      url: `nats://${options.host ?? "127.0.0.1"}:${port}`,
      port,
      pid: pid ?? 0,
      exited,
      stop,
      kill: (signal = "SIGTERM") => {
        child.kill(signal);
      },
    };
  } catch (error) {
    child.kill("SIGKILL");
    await exited;
    throw error;
  }
}

/** Waits for the pipe from this process to close, that is, for this process to end; then stops the server. */
function watch(pid: number): ChildProcess {
  const script = 'read -r _; kill -TERM "$1"';
  const watcher = spawn("/bin/sh", ["-c", script, "nats-watcher", String(pid)], {
    detached: true,
    stdio: ["pipe", "ignore", "ignore"],
  });
  watcher.on("error", () => undefined);
  watcher.stdin.on("error", () => undefined);
  watcher.unref();
  (watcher.stdin as unknown as { unref?: () => void }).unref?.();
  return watcher;
}

/** Reads the server's log until it says that it is ready; @returns the port it listens on. */
function ready(
  child: ChildProcess,
  exited: Promise<NatsServerExit>,
  options: NatsServerOptions,
  storeDir: string,
): Promise<number> {
  return new Promise((settle, reject) => {
    let port = 0;
    let fatal: string | undefined;
    const timeoutMs = options.startTimeoutMs ?? 120_000;
    const timer = setTimeout(
      () => reject(failed("NATS_SERVER_FAILED", `nats-server was not ready after ${timeoutMs / 1_000} s`)),
      timeoutMs,
    );
    const fail = (error: ArrwError): void => {
      clearTimeout(timer);
      reject(error);
    };
    child.once("error", (error) =>
      fail(failed("NATS_SERVER_FAILED", `${options.binary} doesn't start: ${error.message}`)),
    );
    if (!child.stderr) return;
    const lines = createInterface({ input: child.stderr });
    lines.on("line", (line) => {
      if (options.logFile !== undefined) appendFileSync(options.logFile, `${line}\n`);
      options.onLog?.(line);
      port = Number(/Listening for client connections on .*:(\d+)$/.exec(line)?.[1] ?? port);
      fatal = /\[FTL\] (.*)$/.exec(line)?.[1] ?? fatal;
      if (!line.includes("Server is ready") || port === 0) return;
      clearTimeout(timer);
      settle(port);
    });
    // The last lines come before "close", after "exit".
    lines.once("close", () => {
      void exited.then(({ code, signal }) => {
        fail(explain(fatal ?? `exit ${code ?? signal ?? ""}`, options, storeDir));
      });
    });
  });
}

function explain(fatal: string, options: NatsServerOptions, storeDir: string): ArrwError {
  if (/address already in use/.test(fatal)) {
    const address = `${options.host ?? "127.0.0.1"}:${options.port ?? 0}`;
    return failed("PORT_IN_USE", `NATS port ${address} is in use`);
  }
  if (/storage director|permission denied|read-only|no space/i.test(fatal)) {
    return failed("STORE_UNWRITABLE", `NATS store ${storeDir} can't be written (${fatal})`);
  }
  return failed("NATS_SERVER_FAILED", `nats-server doesn't start: ${fatal}`);
}
