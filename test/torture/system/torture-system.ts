import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import { freePort } from "../../../platform/free-port.ts";
import { Subject } from "../../../platform/nats/names.ts";
import { startTestNats } from "../../support/nats.ts";
import { clockMs, type Recorder } from "../recorder.ts";
import { outcomesOf } from "../views.ts";
import { Link } from "./link.ts";
import { NatsTarget } from "./nats-target.ts";
import { ServiceProcess } from "./process.ts";
import { Taps } from "./taps.ts";

/** What faults can be done to. */
export interface Target {
  readonly name: string;
  readonly isReady: boolean;
  start(): Promise<void>;
  kill(): Promise<void>;
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

export interface TortureSystemOptions {
  /** Folder of the source tree whose services run. */
  readonly source: URL;
  /** For data and logs; exists. */
  readonly folder: string;
  readonly recorder: Recorder;
  readonly schedulers: number;
  readonly workers: number;
  readonly workerSlots: number;
  /** ARRW_* settings of all processes. */
  readonly settings?: Readonly<Record<string, string>>;
}

const BOUND_BYTES = String(1024 ** 3);

/**
 * The real services as processes on free ports, every way between two of them through a `Link`: "worker-1 > nats",
 * "worker-1 > index", "gateway > scheduler-1", "client > gateway", ... Whatever happens, `stop` leaves nothing behind.
 */
export class TortureSystem {
  readonly targets = new Map<string, Target>();
  readonly links = new Map<string, Link>();
  readonly #options: TortureSystemOptions;
  readonly #logs: WriteStream[] = [];
  readonly #ports = new Map<string, number>();
  #taps: Taps | undefined;

  constructor(options: TortureSystemOptions) {
    this.#options = options;
  }

  /** host:port of the gateway, through the clients' link. */
  get address(): string {
    return `127.0.0.1:${this.link("client > gateway").port}`;
  }

  get taps(): Taps {
    if (!this.#taps) throw new Error("the system is not started");
    return this.#taps;
  }

  target(name: string): Target {
    const target = this.targets.get(name);
    if (!target) throw new Error(`no process ${name}; there are ${[...this.targets.keys()].join(", ")}`);
    return target;
  }

  link(name: string): Link {
    const link = this.links.get(name);
    if (!link) throw new Error(`no link ${name}; there are ${[...this.links.keys()].join(", ")}`);
    return link;
  }

  /** Resolves when all are ready. */
  async start(): Promise<void> {
    const { recorder } = this.#options;
    const nats = await startTestNats();
    this.targets.set("nats", new NatsTarget(nats));
    this.#ports.set("nats", nats.port);
    const { schedulers, workers } = this.#options;
    const names = (role: string, count: number): string[] =>
      Array.from({ length: count }, (_, n) => `${role}-${n + 1}`);
    const schedulerNames = names("scheduler", schedulers);
    const workerNames = names("worker", workers);
    for (const name of ["index", "gateway", ...schedulerNames]) this.#ports.set(name, await freePort());
    await this.#startLinks(schedulerNames, workerNames);
    await this.#add("index", "index", {
      ARRW_INDEX_GRPC_PORT: this.#portOf("index"),
      ARRW_INDEX_HTTP_PORT: "0",
    });
    for (const name of schedulerNames) await this.#addScheduler(name);
    for (const name of workerNames) {
      await this.#add(name, "worker", {
        ARRW_WORKER_HTTP_PORT: "0",
        ARRW_INDEX_ADDRESS: this.#addressOf(`${name} > index`),
      });
    }
    await this.#add("gateway", "gateway", {
      ARRW_GATEWAY_GRPC_PORT: this.#portOf("gateway"),
      ARRW_GATEWAY_HTTP_PORT: "0",
      ARRW_SCHEDULER_ADDRESS: schedulerNames.map((name) => this.#addressOf(`gateway > ${name}`)).join(","),
      ARRW_INDEX_ADDRESS: this.#addressOf("gateway > index"),
    });
    await Promise.all(
      [...this.targets.values()].filter(({ name }) => name !== "nats").map((each) => each.start()),
    );
    this.#taps = new Taps(nats.url, recorder);
    await this.#taps.start();
  }

  /** Ends everything, in any state. */
  async stop(): Promise<void> {
    for (const link of this.links.values()) link.heal();
    for (const target of this.targets.values()) target.thaw();
    await this.#taps?.stop();
    const [nats, ...services] = [...this.targets.values()];
    await Promise.all(services.map((target) => target.stop()));
    await Promise.all([...this.links.values()].map((link) => link.stop()));
    await nats?.stop();
    for (const log of this.#logs) await new Promise<void>((resolve) => log.end(resolve));
  }

  async #startLinks(schedulers: readonly string[], workers: readonly string[]): Promise<void> {
    const add = (name: string, to: string): Link => {
      const nats = to === "nats";
      const link = new Link({
        name,
        nats,
        target: () => this.#ports.get(to),
        ...(nats ? { onPublication: (subject, payload) => this.#onPublication(subject, payload) } : {}),
      });
      this.links.set(name, link);
      return link;
    };
    for (const name of [...schedulers, ...workers, "gateway"]) {
      add(`${name} > nats`, "nats");
      add(`${name} > index`, "index");
    }
    for (const name of schedulers) add(`gateway > ${name}`, name);
    add("client > gateway", "gateway");
    await Promise.all([...this.links.values()].map((link) => link.start()));
  }

  /** What workers send, whether it arrives or not. */
  #onPublication(subject: string, payload: Buffer): void {
    if (subject !== Subject.outcomes) return;
    for (const outcome of outcomesOf(0, payload, clockMs())) this.#options.recorder.add(outcome);
  }

  async #addScheduler(name: string): Promise<void> {
    await this.#add(name, "scheduler", {
      ARRW_SCHEDULER_GRPC_PORT: this.#portOf(name),
      ARRW_SCHEDULER_HTTP_PORT: "0",
      ARRW_SCHEDULER_ADVERTISE_ADDRESS: this.#addressOf(`gateway > ${name}`),
      ARRW_INDEX_ADDRESS: this.#addressOf(`${name} > index`),
    });
  }

  async #add(name: string, service: string, own: Readonly<Record<string, string>>): Promise<void> {
    const { source, folder, recorder, workerSlots, settings } = this.#options;
    const log = createWriteStream(join(folder, `${name}.log`), { flags: "a" });
    this.#logs.push(log);
    const natsLink = this.links.get(`${name} > nats`);
    const env: NodeJS.ProcessEnv = {
      PATH: process.env.PATH,
      ARRW_DATA_DIR: join(folder, "data"),
      ARRW_JOURNAL_MAX_BYTES: BOUND_BYTES,
      ARRW_OBJECTS_MAX_BYTES: BOUND_BYTES,
      ARRW_WORKER_SLOTS: String(workerSlots),
      ...(natsLink ? { ARRW_NATS_URL: `nats://127.0.0.1:${natsLink.port}` } : {}),
      ...settings,
      ...own,
    };
    const target = new ServiceProcess({
      name,
      main: new URL(`services/${service}/main.ts`, source),
      env,
      onLine: (line) => log.write(`${line}\n`),
      onExit: (how, wasReady, lastLines) =>
        recorder.add({ kind: "exit", process: name, atMs: clockMs(), how, wasReady, lastLines }),
    });
    this.targets.set(name, target);
  }

  #portOf(name: string): string {
    return String(this.#ports.get(name) ?? 0);
  }

  #addressOf(link: string): string {
    return `127.0.0.1:${this.link(link).port}`;
  }
}
