import { Host } from "./host.ts";
import type { IndexFences } from "./index-fences.ts";
import { Link, type Noise } from "./link.ts";
import type { JobPlan } from "./plan.ts";
import type { Server } from "./server.ts";
import type { Timeline } from "./timeline.ts";
import { SimulatedWorker } from "./worker.ts";

/** From the end of a drain to the next worker at its place. */
const GONE_MS = 1_000;

export interface WorkerPoolOptions {
  readonly seed: number;
  readonly timeline: Timeline;
  readonly server: Server;
  readonly noise: Noise;
  readonly index: IndexFences;
  readonly count: number;
  readonly slots: number;
  readonly planOf: (jobId: string) => JobPlan | undefined;
}

export interface Running {
  readonly host: Host;
  readonly link: Link;
  readonly worker: SimulatedWorker;
}

/** The workers' processes: each place holds one, a new one after the one before has gone. */
export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #places: (Running | undefined)[];
  #starts = 0;
  #ended = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#places = Array.from({ length: options.count });
  }

  get running(): Running[] {
    return this.#places.filter((place) => place !== undefined && !place.host.dead) as Running[];
  }

  /** The worker at a place, counted round. */
  at(which: number): Running | undefined {
    const place = this.#places[which % this.#places.length];
    return place?.host.dead ? undefined : place;
  }

  /** Fills all empty places. */
  start(): void {
    this.#places.forEach((place, n) => {
      if (this.#ended || (place && !place.host.dead)) return;
      const { seed, timeline, server, noise, index, slots, planOf } = this.#options;
      this.#starts += 1;
      const host = new Host(timeline, `worker-${n}.${this.#starts}`, seed);
      const link = new Link(host, server, noise);
      const onDrained = (): void => {
        timeline.at(timeline.now + GONE_MS, () => {
          host.kill();
          this.start();
        });
      };
      const worker = new SimulatedWorker({ host, link, index, slots, planOf, onDrained });
      this.#places[n] = { host, link, worker };
      worker.start();
    });
  }

  kill(): void {
    this.#ended = true;
    for (const { host } of this.running) host.kill();
  }
}
