import type { Heartbeat } from "../../proto/gen/arrwdb/worker/v1/worker.ts";

/** A lease in head state: granted and not ended. */
export interface Lease {
  readonly lease: bigint;
  readonly jobId: string;
  /** Monotonic ms of the last time its assignment was sent; undefined = not yet (its record is on its way). */
  sentAtMs: number | undefined;
  /** A heartbeat has listed it: the worker has it. */
  listed: boolean;
}

export interface Worker {
  readonly workerId: string;
  slots: number;
  types: ReadonlySet<string>;
  draining: boolean;
  /** An operator wants it to take no more leases. */
  drainRequested: boolean;
  host: string;
  version: string;
  startedAt: Date | undefined;
  /** Monotonic ms at which its last heartbeat was processed. */
  heardAtMs: number;
  readonly leases: Map<bigint, Lease>;
}

/** A worker and the slots that are left. */
export interface FreeWorker {
  readonly workerId: string;
  slots: number;
}

/** Workers as their heartbeats describe them, and the leases each holds. A worker is known until it counts as lost. */
export class Workers {
  readonly #workers = new Map<string, Worker>();

  [Symbol.iterator](): IterableIterator<Worker> {
    return this.#workers.values();
  }

  get(workerId: string): Worker | undefined {
    return this.#workers.get(workerId);
  }

  /** @returns true when the worker was not known */
  hear(heartbeat: Heartbeat, nowMs: number): boolean {
    const known = this.#workers.has(heartbeat.workerId);
    const worker = this.#known(heartbeat.workerId, nowMs);
    worker.slots = heartbeat.slots;
    worker.types = new Set(heartbeat.types);
    worker.draining = heartbeat.draining;
    worker.host = heartbeat.host;
    worker.startedAt = heartbeat.startedAt;
    worker.version = heartbeat.version;
    worker.heardAtMs = nowMs;
    for (const { lease } of heartbeat.held) {
      const held = worker.leases.get(lease);
      if (held) held.listed = true;
    }
    return !known;
  }

  granted(workerId: string, lease: bigint, jobId: string, nowMs: number): void {
    this.#known(workerId, nowMs).leases.set(lease, { lease, jobId, sentAtMs: undefined, listed: false });
  }

  ended(workerId: string, lease: bigint): void {
    this.#workers.get(workerId)?.leases.delete(lease);
  }

  forget(workerId: string): void {
    this.#workers.delete(workerId);
  }

  /** Slots of leases granted and not ended count at once; heartbeats only correct the number of slots. */
  freeSlots(worker: Worker): number {
    return worker.draining || worker.drainRequested ? 0 : worker.slots - worker.leases.size;
  }

  /** Workers that have free slots for a type. */
  free(type: string): FreeWorker[] {
    const free: FreeWorker[] = [];
    for (const worker of this.#workers.values()) {
      const slots = this.freeSlots(worker);
      if (slots > 0 && worker.types.has(type)) free.push({ workerId: worker.workerId, slots });
    }
    return free;
  }

  /** Workers without a heartbeat for `timeoutMs`. */
  silent(nowMs: number, timeoutMs: number): Worker[] {
    return [...this.#workers.values()].filter((worker) => nowMs - worker.heardAtMs > timeoutMs);
  }

  #known(workerId: string, nowMs: number): Worker {
    let worker = this.#workers.get(workerId);
    if (!worker) {
      worker = {
        workerId,
        slots: 0,
        types: new Set<string>(),
        draining: false,
        drainRequested: false,
        host: "",
        version: "",
        startedAt: undefined,
        heardAtMs: nowMs,
        leases: new Map(),
      };
      this.#workers.set(workerId, worker);
    }
    return worker;
  }
}
