import type { Logger } from "../../platform/log.ts";
import { Leader } from "../../services/scheduler/leader.ts";
import { Host } from "./host.ts";
import type { IndexFences } from "./index-fences.ts";
import { Link, type Noise } from "./link.ts";
import { Disk, MemoryStore } from "./memory-store.ts";
import type { Server } from "./server.ts";
import type { Timeline } from "./timeline.ts";

export const LEASE_TIMEOUT_MS = 3_000;

export interface SchedulerOptions {
  readonly name: string;
  readonly seed: number;
  readonly timeline: Timeline;
  readonly server: Server;
  readonly noise: Noise;
  readonly index: IndexFences;
  readonly log: Logger;
  readonly keepJobs: number;
  readonly journalBytes: number;
}

const NO_METRICS = {
  appended: () => undefined,
  outcome: () => undefined,
  transition: () => undefined,
  workerLost: () => undefined,
  leading: () => undefined,
};

/** A scheduler's process, as often as it is started; its disk stays. */
export class SimulatedScheduler {
  readonly name: string;
  readonly #options: SchedulerOptions;
  #disk = new Disk();
  #starts = 0;
  host: Host | undefined;
  link: Link | undefined;
  leader: Leader | undefined;
  skewMs = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.name = options.name;
  }

  get leads(): boolean {
    return this.leader?.current() !== undefined;
  }

  start(): void {
    if (this.host && !this.host.dead) return;
    const { name, seed, timeline, server, noise, index, log, keepJobs, journalBytes } = this.#options;
    this.#starts += 1;
    const host = new Host(timeline, `${name}.${this.#starts}`, seed, this.skewMs);
    const link = new Link(host, server, noise);
    this.host = host;
    this.link = link;
    this.leader = new Leader({
      nats: link,
      clock: host.clock,
      random: () => host.random.next(),
      objects: { remove: async () => undefined },
      log,
      metrics: NO_METRICS,
      replicas: 1,
      openStore: () => new MemoryStore(this.#disk, host),
      address: host.name,
      leaseTimeoutMs: LEASE_TIMEOUT_MS,
      limits: { maxAgeMs: 3_600_000, maxJobs: keepJobs, journalMaxBytes: journalBytes },
      closeFence: async (_libraryId, jobId, lease) => {
        await index.end({ host, random: host.random }, jobId, lease);
      },
    });
    void this.leader.start();
  }

  /** SIGKILL. @param keepStore false: its disk is lost, too */
  kill(keepStore: boolean): void {
    this.host?.kill();
    this.leader = undefined;
    if (!keepStore) this.#disk = new Disk();
  }

  /** SIGTERM; dead when the promise resolves. */
  async stop(): Promise<void> {
    const { host, leader } = this;
    await leader?.stop();
    if (host !== this.host) return;
    host?.kill();
    this.leader = undefined;
  }
}
