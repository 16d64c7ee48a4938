import type { Cancel, Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";

export interface JanitorOptions {
  readonly nats: Pick<Nats, "getMessage" | "streamSubjects">;
  readonly clock: Clock;
  readonly objects: Pick<ObjectStore, "remove">;
  readonly log: Logger;
  /** Whether a job with this id exists; objects are named after theirs. */
  readonly isJob: (jobId: string) => boolean;
}

const INTERVAL_MS = 600_000;
/** An upload may take this long before it counts as broken off. */
const ORPHAN_AGE_MS = 3_600_000;

/** Removes objects that belong to nobody: uploads broken off, payloads whose submit never arrived. */
export class Janitor {
  readonly #options: JanitorOptions;
  readonly #removing = new Set<string>();
  #cancel: Cancel | undefined;
  #stopped = false;

  constructor(options: JanitorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, log } = this.#options;
    this.#cancel = clock.every(INTERVAL_MS, () => {
      this.sweep().catch((error: unknown) => log.warn({ err: error }, "sweeping objects failed"));
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  /** Removes a deleted job's payload; what fails here is met by the next sweep. */
  remove(objectId: string): void {
    if (this.#removing.has(objectId) || this.#stopped) return;
    this.#removing.add(objectId);
    this.#options.objects
      .remove(objectId)
      .catch((error: unknown) =>
        this.#options.log.warn({ err: error, object: objectId }, "removing a payload failed"),
      )
      .finally(() => this.#removing.delete(objectId));
  }

  async sweep(): Promise<void> {
    const { nats, clock, isJob, objects, log } = this.#options;
    const subjects = await nats.streamSubjects(Stream.objects, Subject.objects);
    const newest = new Map<string, string>();
    for (const subject of Object.keys(subjects)) newest.set(subject.split(".")[2] ?? "", subject);
    for (const [objectId, subject] of newest) {
      if (this.#stopped) return;
      if (isJob(objectId)) continue;
      const message = await nats.getMessage(Stream.objects, { lastBySubject: subject });
      if (!message || clock.now() - message.timeMs < ORPHAN_AGE_MS) continue;
      await objects.remove(objectId);
      log.info({ object: objectId }, "removed an object that belongs to no job");
    }
  }
}
