import { setTimeout as delay } from "node:timers/promises";
import { type ArrwError, invalidArgument, toArrwError, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Counter, Gauge, type Registry } from "../../platform/metrics.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import { Stream } from "../../platform/nats/names.ts";
import type { JobFilter } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { EventQueue } from "./domain/event-queue.ts";
import { type JobMatcher, jobMatcher } from "./domain/job-filter.ts";
import { behind, type Cursor, type Position } from "./domain/watch-cursor.ts";
import type { GatewayContext } from "./guard.ts";
import type { JournalBatch } from "./journal-batch.ts";
import type { FeedListener, JournalFeed } from "./journal-feed.ts";
import { cursorExpired, JournalReader } from "./journal-reader.ts";

/**
 * All WatchJobs streams of the process. Those that are up to date get their events from the one live reader of the
 * journal. One that is behind, because its cursor is old or its client slow, reads the journal by itself until it
 * meets the live reader: nothing is left out, and what waits in memory is bounded.
 */

const MAX_WAITING_EVENTS = 10_000;
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Above this for all streams together, one with more than its share reads the journal again instead. */
const MAX_WAITING_BYTES_TOTAL = 64 * 1024 * 1024;
const SHARE_BYTES = 256 * 1024;
/** One that is behind reads no further while this waits. */
const READ_AHEAD_BYTES = 512 * 1024;
const AT_END_WAIT_MS = 20;

export interface JobWatchesOptions {
  readonly nats: Nats;
  readonly feed: JournalFeed;
  readonly log: Logger;
  readonly registry: Registry;
}

class Watcher {
  readonly queue = new EventQueue<Buffer>(MAX_WAITING_EVENTS, MAX_WAITING_BYTES);
  readonly matcher: JobMatcher;
  /** The first record that it has not been offered. */
  next: Position;
  /** It gets what the live reader brings. */
  live = false;
  /** Why it ends once its queue is empty. */
  ended: ArrwError | undefined;
  #wake: (() => void) | undefined;

  constructor(matcher: JobMatcher, next: Position) {
    this.matcher = matcher;
    this.next = next;
  }

  wake(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  /** Resolves at the next `wake`. */
  woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}

export class JobWatches implements Part {
  readonly name = "job watches";
  readonly #options: JobWatchesOptions;
  readonly #reader: JournalReader;
  readonly #watchers = new Set<Watcher>();
  readonly #listener: FeedListener;
  readonly #streams: Gauge;
  readonly #overflows: Counter;
  #waitingBytes = 0;
  #stopped = false;

  constructor(options: JobWatchesOptions) {
    this.#options = options;
    this.#reader = new JournalReader(options.nats, options.log);
    this.#listener = {
      onBatch: (batch) => this.#onBatch(batch),
      onGap: () => this.#fallBehind(),
      onReset: () => this.#endAll(unavailable("the journal ends before what it held")),
    };
    const registers = [options.registry];
    this.#streams = new Gauge({ name: "arrw_watch_jobs_streams", help: "WatchJobs streams now", registers });
    this.#overflows = new Counter({
      name: "arrw_watch_jobs_overflows_total",
      help: "Times a WatchJobs stream fell so far behind that it read the journal again",
      registers,
    });
    const watchers = this.#watchers;
    new Gauge({
      name: "arrw_watch_jobs_behind",
      help: "WatchJobs streams that read the journal by themselves to catch up",
      registers,
      collect() {
        this.set([...watchers].filter(({ live }) => !live).length);
      },
    });
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#endAll(unavailable("the gateway is stopping"));
  }

  /**
   * Encoded WatchJobsResponses: every event behind the cursor (undefined = from now on) of jobs that match and are seen.
   * @throws ArrwError INVALID_ARGUMENT: a cursor ahead of the journal; OUT_OF_RANGE: one that is no longer held
   */
  async *watch(
    filter: JobFilter | undefined,
    after: Cursor | undefined,
    { signal, principal }: GatewayContext,
  ): AsyncGenerator<Buffer> {
    if (this.#stopped) throw unavailable("the gateway is stopping");
    const watcher = new Watcher(jobMatcher(filter, principal), await this.#positionBehind(after));
    const onAbort = (): void => watcher.wake();
    signal.addEventListener("abort", onAbort, { once: true });
    this.#watchers.add(watcher);
    this.#streams.inc();
    try {
      await this.#options.feed.join(this.#listener);
      for (;;) {
        for (let event = this.#take(watcher); event; event = this.#take(watcher)) yield event;
        if (watcher.ended) throw watcher.ended;
        if (signal.aborted) throw signal.reason;
        if (watcher.live) await watcher.woken();
        else if (!this.#meetsFeed(watcher)) await this.#read(watcher, signal);
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#waitingBytes -= watcher.queue.bytes;
      this.#watchers.delete(watcher);
      this.#streams.dec();
      if (this.#watchers.size === 0) this.#options.feed.leave(this.#listener);
    }
  }

  async #positionBehind(after: Cursor | undefined): Promise<Position> {
    const { firstSequence, lastSequence } = await this.#options.nats.streamInfo(Stream.journal);
    if (!after) return { sequence: lastSequence + 1, index: 0 };
    if (after.sequence > lastSequence) {
      const description = "a cursor of an event or a list; got one ahead of everything that has happened";
      throw invalidArgument([{ field: "after_cursor", description }]);
    }
    const start = behind(after);
    if (start.sequence < firstSequence) throw cursorExpired(firstSequence);
    return start;
  }

  #take(watcher: Watcher): Buffer | undefined {
    const event = watcher.queue.shift();
    if (event) this.#waitingBytes -= event.length;
    return event;
  }

  #onBatch(batch: JournalBatch): void {
    for (const watcher of this.#watchers) {
      if (!watcher.live) continue;
      try {
        if (this.#offer(watcher, batch)) continue;
        this.#overflows.inc();
      } catch (error) {
        // A record that can't be read is told, not passed over.
        watcher.ended ??= toArrwError(error);
        watcher.wake();
      }
      watcher.live = false;
    }
  }

  /** Everything that it wants of the batch waits for it, or nothing does: false. */
  #offer(watcher: Watcher, batch: JournalBatch): boolean {
    const { sequence } = batch;
    if (sequence < watcher.next.sequence) return true;
    const events = wanted(watcher, batch);
    const { queue } = watcher;
    const bytes = events.reduce((sum, event) => sum + event.length, 0);
    if (!queue.accepts(events.length, bytes)) return false;
    if (this.#waitingBytes + bytes > MAX_WAITING_BYTES_TOTAL && queue.bytes > SHARE_BYTES) return false;
    this.#push(watcher, events, sequence + 1);
    return true;
  }

  #push(watcher: Watcher, events: readonly Buffer[], nextSequence: number): void {
    const before = watcher.queue.bytes;
    for (const event of events) watcher.queue.push(event);
    this.#waitingBytes += watcher.queue.bytes - before;
    watcher.next = { sequence: nextSequence, index: 0 };
    if (events.length > 0) watcher.wake();
  }

  /** What the live reader missed, each reads by itself, and finds out whether the journal has it. */
  #fallBehind(): void {
    for (const watcher of this.#watchers) {
      watcher.live = false;
      watcher.wake();
    }
  }

  #endAll(error: ArrwError): void {
    for (const watcher of this.#watchers) {
      watcher.ended ??= error;
      watcher.live = false;
      watcher.wake();
    }
  }

  /** Takes over from the live reader where that has all that comes next. In one go: nothing comes in between. */
  #meetsFeed(watcher: Watcher): boolean {
    const batches = this.#options.feed.since(watcher.next.sequence);
    if (!batches) return false;
    watcher.live = batches.every((batch) => this.#offer(watcher, batch));
    return true;
  }

  /** The next part of the journal. */
  async #read(watcher: Watcher, signal: AbortSignal): Promise<void> {
    const { sequence } = watcher.next;
    const { batches, next } = await this.#reader.read(sequence, signal);
    if (next === sequence) await delay(AT_END_WAIT_MS);
    for (const batch of batches) {
      this.#push(watcher, wanted(watcher, batch), batch.sequence + 1);
      if (watcher.queue.bytes > READ_AHEAD_BYTES) return;
    }
    if (next > watcher.next.sequence) watcher.next = { sequence: next, index: 0 };
  }
}

function wanted({ matcher, next }: Watcher, batch: JournalBatch): Buffer[] {
  const from = batch.sequence === next.sequence ? next.index : 0;
  return batch.events
    .filter((event) => event.index >= from && event.matches(matcher))
    .map((event) => event.payload);
}
