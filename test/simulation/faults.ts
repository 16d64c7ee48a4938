import type { IndexFences } from "./index-fences.ts";
import type { Action } from "./plan.ts";
import type { SimulatedScheduler } from "./scheduler.ts";
import type { Server } from "./server.ts";
import type { Timeline } from "./timeline.ts";
import type { WorkerPool } from "./worker-pool.ts";

export interface FaultsOptions {
  readonly timeline: Timeline;
  readonly server: Server;
  readonly index: IndexFences;
  readonly schedulers: readonly SimulatedScheduler[];
  readonly workers: WorkerPool;
  readonly note: ((line: string) => void) | undefined;
}

type Fault = Extract<
  Action,
  {
    do:
      | `${string} scheduler`
      | `${string} worker`
      | "shift clock"
      | "lose leader key"
      | "lose append"
      | "index away"
      | "break all links";
  }
>;

/** Breaks things for a while. */
export class Faults {
  readonly #options: FaultsOptions;
  /** When heartbeats last had a reason not to be heard, by worker; "" = of all. */
  readonly #silencedAtMs = new Map<string, number>();

  constructor(options: FaultsOptions) {
    this.#options = options;
  }

  inject(fault: Fault): void {
    const { server, index } = this.#options;
    switch (fault.do) {
      case "lose leader key":
        server.removeKey();
        break;
      case "lose append":
        server.plan(fault.stream, fault.stored ? "reply lost" : "lost");
        break;
      case "index away":
        index.away = true;
        this.#after(fault.ms, () => {
          index.away = false;
        });
        break;
      case "break all links":
        this.#breakLinks(fault.ms);
        break;
      case "kill worker":
      case "freeze worker":
      case "drain worker":
      case "cut worker":
        this.#breakWorker(fault);
        break;
      default:
        this.#breakScheduler(fault);
    }
  }

  /** Whether something kept a worker's heartbeats from being heard within the last `ms`. */
  wasSilenced(workerId: string, ms: number): boolean {
    const { timeline, workers } = this.#options;
    if (!workers.running.some(({ host }) => host.name === workerId)) return true;
    const since = timeline.now - ms;
    return ["", workerId].some((name) => (this.#silencedAtMs.get(name) ?? Number.NEGATIVE_INFINITY) > since);
  }

  #silence(name: string): void {
    this.#silencedAtMs.set(name, this.#options.timeline.now);
  }

  /** All faults end. */
  mend(): void {
    const { server, index, schedulers, workers } = this.#options;
    server.forgetFaults();
    index.away = false;
    for (const scheduler of schedulers) {
      scheduler.host?.thaw();
      scheduler.link?.heal();
      scheduler.start();
    }
    this.#silence("");
    for (const { host, link } of workers.running) {
      host.thaw();
      link.heal();
    }
    workers.start();
  }

  #breakScheduler(fault: Extract<Fault, { which: number }>): void {
    const scheduler = this.#scheduler(fault.which);
    if (!scheduler) return;
    this.#options.note?.(`${fault.do}: ${scheduler.host?.name ?? scheduler.name}`);
    const { host, link } = scheduler;
    this.#silence("");
    switch (fault.do) {
      case "kill scheduler":
        scheduler.kill(fault.keepStore);
        this.#after(fault.ms, () => scheduler.start());
        break;
      case "stop scheduler":
        host?.io(() => void scheduler.stop());
        // One that is frozen or cut off may take long: what manages processes kills it then.
        this.#after(fault.ms + 500, () => {
          if (host === scheduler.host) scheduler.kill(true);
          scheduler.start();
        });
        break;
      case "freeze scheduler":
        host?.freeze();
        this.#after(fault.ms, () => {
          this.#silence("");
          host?.thaw();
        });
        break;
      case "cut scheduler":
        link?.cut(fault.noticed);
        this.#after(fault.ms, () => {
          this.#silence("");
          link?.heal();
        });
        break;
      case "shift clock":
        scheduler.skewMs += fault.ms;
        if (host) host.skewMs = scheduler.skewMs;
        break;
    }
  }

  #breakWorker(fault: Extract<Fault, { which: number }>): void {
    const { workers, note } = this.#options;
    const running = workers.at(fault.which);
    if (!running) return;
    const { host, link, worker } = running;
    note?.(`${fault.do}: ${host.name}`);
    this.#silence(host.name);
    switch (fault.do) {
      case "kill worker":
        host.kill();
        this.#after(fault.ms, () => workers.start());
        break;
      case "drain worker":
        host.io(() => worker.drain());
        this.#after(fault.ms, () => workers.start());
        break;
      case "freeze worker":
        host.freeze();
        this.#after(fault.ms, () => {
          this.#silence(host.name);
          host.thaw();
        });
        break;
      case "cut worker":
        link.cut(fault.noticed);
        this.#after(fault.ms, () => {
          this.#silence(host.name);
          link.heal();
        });
        break;
    }
  }

  /** The server is started again, say. */
  #breakLinks(ms: number): void {
    const { schedulers, workers } = this.#options;
    const links = [...schedulers, ...workers.running].flatMap(({ link }) => (link ? [link] : []));
    for (const link of links) link.cut(true);
    this.#silence("");
    this.#after(ms, () => {
      this.#silence("");
      for (const link of links) link.heal();
    });
  }

  /** 0 = the one that leads, the others in turn. */
  #scheduler(which: number): SimulatedScheduler | undefined {
    const { schedulers } = this.#options;
    const leading = schedulers.find((scheduler) => scheduler.leads) ?? schedulers[0];
    const others = schedulers.filter((scheduler) => scheduler !== leading);
    return [leading, ...others][which % schedulers.length];
  }

  #after(ms: number, run: () => void): void {
    const { timeline } = this.#options;
    timeline.at(timeline.now + ms, run);
  }
}
