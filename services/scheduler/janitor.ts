import { setImmediate as nextTurn } from "node:timers/promises";
import type { Cancel, Clock } from "../../platform/clock.ts";
import type { Logger } from "../../platform/log.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { jobOfObject, ObjectId, Stream, Subject } from "../../platform/nats/names.ts";
import type { ObjectStore } from "../../platform/nats/objects.ts";

export interface JanitorOptions {
  readonly nats: Pick<Nats, "getMessage" | "streamSubjects" | "purge">;
  readonly clock: Clock;
  readonly objects: Pick<ObjectStore, "remove">;
  readonly log: Logger;
  /** Whether a durable job has this id; objects and logs are named after theirs. Asked for thousands in a row. */
  readonly isJob: (jobId: string) => boolean;
  /** The job is there, and nobody will read its export any more. */
  readonly exportIsOver: (jobId: string, nowMs: number) => boolean;
  /** False once another scheduler may lead: it may have jobs that this one has not heard of. */
  readonly maySend: () => boolean;
}

const INTERVAL_MS = 600_000;
/** An upload may take this long before it counts as broken off. */
const ORPHAN_AGE_MS = 3_600_000;
const LOGS_INTERVAL_MS = 60_000;
/** Deleted jobs remembered by id; after more of them the logs of all jobs are looked at. */
const MAX_DELETED = 100_000;
/** So few are looked up one by one. */
const FEW = 16;
const MAX_PURGES = 2_000;
/** Purges of objects under way: jobs are deleted by the ten thousand, and others use NATS too. */
const MAX_REMOVERS = 8;
const MAX_REMOVING = 100_000;
const CHECKS_PER_TURN = 500;

/**
 * Removes what belongs to no job: uploads broken off, payloads whose submit never arrived, logs of deleted jobs; and
 * exports whose time is up.
 */
export class Janitor {
  readonly #options: JanitorOptions;
  /** To be removed, the first ones first. */
  readonly #removing = new Set<string>();
  #removers = 0;
  #failed = 0;
  #failure: unknown;
  /** Their logs are to be purged, if they have any: most have none, and they come by the thousand. */
  #deleted = new Set<string>();
  #looksAtAllLogs = false;
  #purging = false;
  readonly #cancels: Cancel[] = [];
  #stopped = false;

  constructor(options: JanitorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, log } = this.#options;
    const warn = (error: unknown): void =>
      log.warn({ err: error }, "a sweep failed; the next one repeats it");
    this.#cancels.push(
      clock.every(INTERVAL_MS, () => {
        // What a worker logged late, or an earlier leader missed.
        this.#looksAtAllLogs = true;
        this.sweep().catch(warn);
      }),
      clock.every(LOGS_INTERVAL_MS, () => void this.sweepLogs().catch(warn)),
    );
  }

  stop(): void {
    this.#stopped = true;
    for (const cancel of this.#cancels) cancel();
  }

  /** A job's deletion was decided: its log goes with the next sweep after it is durable. */
  deleted(jobId: string): void {
    if (this.#looksAtAllLogs) return;
    this.#deleted.add(jobId);
    if (this.#deleted.size < MAX_DELETED) return;
    this.#deleted.clear();
    this.#looksAtAllLogs = true;
  }

  /** Removes a deleted job's object, a few at a time; what fails or is left here is met by the next sweep. */
  remove(objectId: string): void {
    if (this.#removing.size >= MAX_REMOVING || !this.#mayRemove()) return;
    this.#removing.add(objectId);
    if (this.#removers < MAX_REMOVERS) void this.#removeNext();
  }

  async #removeNext(): Promise<void> {
    this.#removers += 1;
    for (const objectId of this.#removing) {
      this.#removing.delete(objectId);
      if (!this.#mayRemove()) break;
      await this.#options.objects.remove(objectId).catch((error: unknown) => {
        this.#failed += 1;
        this.#failure = error;
      });
    }
    this.#removers -= 1;
    if (this.#removers > 0 || this.#failed === 0) return;
    const summary = { err: this.#failure, objects: this.#failed };
    this.#options.log.warn(summary, "objects of deleted jobs could not be removed; the next sweep does it");
    this.#failed = 0;
    this.#failure = undefined;
  }

  async sweep(): Promise<void> {
    const { nats, clock, objects, log } = this.#options;
    const subjects = await nats.streamSubjects(Stream.objects, Subject.objects);
    const anyPart = new Map<string, string>();
    for (const subject of Object.keys(subjects)) anyPart.set(subject.split(".")[2] ?? "", subject);
    for (const [objectId, subject] of anyPart) {
      if (!this.#mayRemove()) return;
      const jobId = jobOfObject(objectId);
      if (objectId === ObjectId.export(jobId) && this.#options.exportIsOver(jobId, clock.now())) {
        await objects.remove(objectId);
        log.info({ object: objectId }, "removed an export whose time is up");
        continue;
      }
      if (this.#options.isJob(jobId)) continue;
      const message = await nats.getMessage(Stream.objects, { lastBySubject: subject });
      if (!message || clock.now() - message.timeMs < ORPHAN_AGE_MS) continue;
      // Asked again: the process may have stood still while it waited, and a job may have come.
      if (!this.#mayRemove()) return;
      if (this.#options.isJob(jobId)) continue;
      await objects.remove(objectId);
      log.info({ object: objectId }, "removed an object that belongs to no job");
    }
  }

  /** Purges the logs of jobs that are gone. */
  async sweepLogs(): Promise<void> {
    if (this.#purging || (this.#deleted.size === 0 && !this.#looksAtAllLogs)) return;
    this.#purging = true;
    const all = this.#looksAtAllLogs;
    const deleted = this.#deleted;
    this.#looksAtAllLogs = false;
    this.#deleted = new Set();
    try {
      const logged = await this.#logged(all, deleted);
      if (!(await this.#purgeLogs(logged))) this.#looksAtAllLogs = true;
    } catch (error) {
      this.#looksAtAllLogs ||= all;
      for (const jobId of deleted) this.deleted(jobId);
      throw error;
    } finally {
      this.#purging = false;
    }
  }

  #mayRemove(): boolean {
    return !this.#stopped && this.#options.maySend();
  }

  /** Jobs with a log, of all or of some. */
  async #logged(all: boolean, some: ReadonlySet<string>): Promise<string[]> {
    const { nats } = this.#options;
    const prefix = Subject.jobLog("").length;
    if (all || some.size > FEW) {
      const subjects = Object.keys(await nats.streamSubjects(Stream.logs, Subject.jobLogs));
      const jobIds = subjects.map((subject) => subject.slice(prefix));
      return all ? jobIds : jobIds.filter((jobId) => some.has(jobId));
    }
    const found = await Promise.all(
      [...some].map((jobId) => nats.streamSubjects(Stream.logs, Subject.jobLog(jobId))),
    );
    return found.flatMap((subjects) => Object.keys(subjects).map((subject) => subject.slice(prefix)));
  }

  /** @returns false when some are left for the next sweep */
  async #purgeLogs(jobIds: readonly string[]): Promise<boolean> {
    const { nats, isJob } = this.#options;
    let purges = 0;
    for (const [index, jobId] of jobIds.entries()) {
      if (index % CHECKS_PER_TURN === CHECKS_PER_TURN - 1) await nextTurn();
      if (!this.#mayRemove()) return false;
      if (isJob(jobId)) continue;
      if (purges === MAX_PURGES) return false;
      purges += 1;
      await nats.purge(Stream.logs, { subject: Subject.jobLog(jobId) });
    }
    return true;
  }
}
