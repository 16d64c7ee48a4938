import { EventEmitter } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { loadConfig, type SettingName, type Settings } from "../platform/config.ts";
import { once } from "../platform/lifecycle.ts";
import { createLog, type Logger } from "../platform/log.ts";
import { findNatsServer } from "../platform/nats/launcher.ts";
import type { PidLock } from "../platform/pid-lock.ts";
import { SETTINGS } from "../platform/settings.ts";
import { describeExit, launchChild } from "./child.ts";
import { takeDataDir } from "./data-dir.ts";
import { callHostOf, connectHostOf, environmentOf, hostOf } from "./inside.ts";
import {
  isAudit,
  type LogEntry,
  parseNatsLine,
  parseServiceLine,
  renderEntry,
  SEVERITY,
} from "./log-lines.ts";
import { checkNats, launchNats } from "./nats.ts";
import { settlePorts, type WantedPort, withFreePorts } from "./ports.ts";
import { type PortSetting, SERVICES, type ServiceSpec } from "./services.ts";
import { type Running, Supervised } from "./supervised.ts";
import type { SystemAddress, SystemEvents, SystemOptions } from "./system-options.ts";

export type { SystemAddress, SystemEvents, SystemOptions };

const READY_TIMEOUT_MS = 60_000;
const NATS_STOP_TIMEOUT_MS = 15_000;
const STOP_MARGIN_MS = 5_000;
const KEPT_LINES = 2_000;
const ALL_SETTINGS = Object.keys(SETTINGS) as SettingName[];

/**
 * All processes of arrwDB as children of this one: nats-server, index, scheduler, worker, gateway. One that dies is
 * launched again with backoff on the same ports and data. None outlives this process.
 */
export class System {
  readonly events = new EventEmitter<SystemEvents>();
  readonly #options: SystemOptions;
  readonly #services: readonly ServiceSpec[];
  readonly #env: NodeJS.ProcessEnv;
  readonly #settings: Settings<SettingName>;
  readonly #log: Logger;
  readonly #lines: string[] = [];
  readonly #abort = new AbortController();
  readonly #processes = new Map<string, Supervised>();
  #addresses: readonly SystemAddress[] = [];
  #natsUrl = "";
  #dataDir = "";
  #lock: PidLock | undefined;
  /** @throws ConfigError naming every setting that is wrong */
  constructor(options: SystemOptions = {}) {
    this.#options = options;
    this.#services = options.services ?? SERVICES;
    this.#env = environment(options, this.#services);
    this.#settings = loadConfig(ALL_SETTINGS, this.#env);
    this.#log = createLog("arrw", this.#settings.ARRW_LOG_LEVEL, {
      write: (line) => this.#show(parseServiceLine("arrw", line)),
    });
  }

  /** Every port, in the order of start. */
  get addresses(): readonly SystemAddress[] {
    return this.#addresses;
  }

  /** host:port of the public gRPC API. */
  get address(): string {
    return this.#addresses.find(({ setting }) => setting === "ARRW_GATEWAY_GRPC_PORT")?.address ?? "";
  }

  /** "http://host:port" of the public HTTP API; "" when there is none. */
  get httpUrl(): string {
    const found = this.#addresses.find(({ setting }) => setting === "ARRW_GATEWAY_HTTP_PORT");
    const scheme = this.#settings.ARRW_TLS_CERT_FILE === "" ? "http" : "https";
    return found ? `${scheme}://${found.address}` : "";
  }

  get natsUrl(): string {
    return this.#natsUrl;
  }

  get dataDir(): string {
    return this.#dataDir;
  }

  /** The newest log lines, without colour. */
  get logs(): readonly string[] {
    return this.#lines;
  }

  /** Of the process that runs now; undefined while it is down. */
  pid(name: string): number | undefined {
    return this.#processes.get(name)?.pid;
  }

  /** Names of the processes: "nats" when this system runs its own, and the services. */
  get names(): readonly string[] {
    return [...this.#processes.keys()];
  }

  /** Sends a signal to a process, by default SIGKILL; @returns whether there was one. */
  kill(name: string, signal: NodeJS.Signals = "SIGKILL"): boolean {
    return this.#find(name).kill(signal);
  }

  /** Resolves when the process is ready: at once if it is now and has not been killed. */
  ready(name: string): Promise<void> {
    return this.#find(name).ready();
  }

  /**
   * Resolves when every process is ready. Otherwise everything is stopped again.
   * @throws ArrwError FAILED_PRECONDITION with one clear line: PORT_IN_USE, DATA_DIR_UNWRITABLE, DATA_DIR_IN_USE,
   * NATS_SERVER_NOT_FOUND, NATS_UNREACHABLE; Error "<service>: <reason>" when a service doesn't start
   */
  async start(): Promise<void> {
    try {
      await this.#start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  /** Stops the processes one after the other, the gateway first and nats-server last; twice is fine. */
  readonly stop = once(async () => {
    this.#abort.abort(new Error("stopped"));
    if (this.#processes.size > 0) this.#log.info("stopping");
    for (const process of [...this.#processes.values()].reverse()) await process.stop();
    this.#lock?.release();
    if (this.#options.temporary && this.#dataDir !== "") {
      await rm(this.#dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    }
  });

  /** SIGKILL to all; `stop` resolves then. */
  force(): void {
    for (const process of this.#processes.values()) process.force();
  }

  async #start(): Promise<void> {
    const dataDir = this.#options.temporary
      ? await mkdtemp(join(tmpdir(), "arrw-"))
      : resolve(this.#settings.ARRW_DATA_DIR);
    this.#lock = takeDataDir(dataDir);
    this.#dataDir = dataDir;
    const given = this.#env.ARRW_NATS_URL !== undefined || this.#env.NATS_URL !== undefined;
    const ports = await settlePorts(this.#wantedPorts(!given));
    this.#addresses = this.#services.flatMap(({ name, ports: own }) =>
      own.map(({ setting, what }) => ({
        service: name,
        setting,
        what,
        address: `${connectHostOf(name, this.#settings)}:${ports.get(setting) ?? 0}`,
      })),
    );
    if (given) {
      this.#natsUrl = this.#settings.ARRW_NATS_URL;
      await checkNats(this.#natsUrl);
    } else await this.#startNats(ports.get("ARRW_NATS_PORT") ?? 0);
    this.#abort.signal.throwIfAborted();
    const env = this.#childEnvironment(ports);
    const children = this.#services.map((service) => this.#supervise(service, env));
    await Promise.all(children.map((child) => child.start()));
  }

  #wantedPorts(withNats: boolean): WantedPort[] {
    const wanted = this.#services.flatMap(({ name, ports }) =>
      ports.map(({ setting }) => ({
        service: name,
        setting,
        port: this.#settings[setting],
        host: hostOf(name, this.#settings),
      })),
    );
    if (!withNats) return wanted;
    const setting = "ARRW_NATS_PORT";
    return [{ service: "nats-server", setting, port: this.#settings[setting], host: "127.0.0.1" }, ...wanted];
  }

  /** What children get beside the user's settings: where the others are. */
  #childEnvironment(ports: ReadonlyMap<PortSetting, number>): NodeJS.ProcessEnv {
    const env: NodeJS.ProcessEnv = {
      ...this.#env,
      ARRW_NATS_URL: this.#natsUrl,
      ARRW_DATA_DIR: this.#dataDir,
    };
    delete env.NATS_URL;
    for (const [setting, port] of ports) env[setting] = String(port);
    for (const { name, address } of this.#services) {
      if (address)
        env[address.setting] = `${callHostOf(name, this.#settings)}:${ports.get(address.port) ?? 0}`;
    }
    return env;
  }

  async #startNats(port: number): Promise<void> {
    const { path: binary } = await findNatsServer({
      env: this.#env,
      log: this.#log,
      signal: this.#abort.signal,
    });
    this.#abort.signal.throwIfAborted();
    this.#natsUrl = `nats://127.0.0.1:${port}`;
    const launch = () =>
      launchNats({
        binary,
        port,
        storeDir: join(this.#dataDir, "nats"),
        syncAlways: this.#options.syncAlways ?? true,
        onLog: (line) => this.#showNats(line),
      });
    await this.#add("nats", NATS_STOP_TIMEOUT_MS, launch).start();
  }

  #supervise(service: ServiceSpec, env: NodeJS.ProcessEnv): Supervised {
    const { name, main } = service;
    const own = environmentOf(name, env, this.#settings);
    // Without credentials all that an audit line says is that it was somebody on this machine.
    const audited = this.#settings.ARRW_API_KEYS_FILE !== "" || this.#settings.ARRW_JWKS_FILE !== "";
    const onLine = (line: string): void => {
      const entry = parseServiceLine(name, line);
      if (audited || !isAudit(entry)) this.#show(entry);
    };
    const stopTimeoutMs = this.#settings.ARRW_DRAIN_TIMEOUT_MS + STOP_MARGIN_MS;
    return this.#add(name, stopTimeoutMs, () => launchChild({ name, main, env: own, onLine }));
  }

  #add(name: string, stopTimeoutMs: number, launch: () => Promise<Running>): Supervised {
    const supervised = new Supervised({
      name,
      launch,
      stopTimeoutMs,
      readyTimeoutMs: READY_TIMEOUT_MS,
      onExit: (exit, delayMs) => {
        this.#log.warn(`${name} ended (${describeExit(exit)}); starting it again in ${delayMs} ms`);
        this.events.emit("exit", name, exit);
      },
      onReady: (pid) => {
        this.#log.info(`${name} is ready again`);
        this.events.emit("ready", name, pid);
      },
      onFailure: (error, delayMs) => {
        const reason = error instanceof Error ? error.message : String(error);
        this.#log.error(`${name} does not start: ${reason}; next try in ${delayMs} ms`);
      },
    });
    this.#processes.set(name, supervised);
    return supervised;
  }

  #find(name: string): Supervised {
    const found = this.#processes.get(name);
    if (!found) throw new Error(`no process ${name}; there are ${this.names.join(", ")}`);
    return found;
  }

  /** At level info the server's own informational lines are noise. */
  #showNats(line: string): void {
    const entry = parseNatsLine(line);
    const least = Math.max(SEVERITY.indexOf(this.#settings.ARRW_LOG_LEVEL), 0);
    const shift = entry.level === "info" ? 1 : 0;
    if (SEVERITY.indexOf(entry.level) - shift >= least) this.#show(entry);
  }

  #show(entry: LogEntry): void {
    this.#lines.push(renderEntry(entry, false));
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#options.onLine?.(renderEntry(entry, this.#options.colour ?? false));
  }
}

/** @returns a system whose processes are all ready; @throws what `start` throws */
export async function startSystem(options: SystemOptions = {}): Promise<System> {
  const system = new System(options);
  await system.start();
  return system;
}

function environment(options: SystemOptions, services: readonly ServiceSpec[]): NodeJS.ProcessEnv {
  const given = options.env ?? process.env;
  const env = options.temporary ? withFreePorts(given, services) : { ...given };
  for (const [name, value] of Object.entries(options.settings ?? {})) env[name] = String(value);
  return env;
}
