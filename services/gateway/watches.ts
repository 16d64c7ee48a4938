import { setTimeout as delay } from "node:timers/promises";
import { toArrwError, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import type { Logger } from "../../platform/log.ts";
import { Counter, Gauge, type Registry } from "../../platform/metrics.ts";
import type { BusMessage, BusSubscription, Nats } from "../../platform/nats/connection.ts";
import { Subject } from "../../platform/nats/names.ts";
import { JournalRecord } from "../../proto/gen/arrwdb/journal/v1/journal.ts";
import type { Job, WatchJobRequest } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { JobProgressEvent } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Principal } from "./domain/principal.ts";
import { isTerminal } from "./domain/progress.ts";
import type { GatewayContext } from "./guard.ts";
import { readJob } from "./job-reader.ts";
import type { JournalBatch } from "./journal-batch.ts";
import type { FeedListener, JournalFeed } from "./journal-feed.ts";
import type { SchedulerClient } from "./scheduler-client.ts";
import { Turns } from "./turns.ts";
import { Watcher, WatchTopic } from "./watch-topic.ts";
import { leadingString } from "./wire.ts";

/**
 * All WatchJob streams of the process. They share the reader of the journal and one subscription to progress, which
 * are there while somebody watches; records of jobs that nobody watches are skipped undecoded.
 */

const READ_TIMEOUT_MS = 10_000;
/**
 * A record can be in the journal before the scheduler knows that it is: a job read at that moment is older than what
 * the reader has passed already. The scheduler has at most 2 such batches; this many are looked at again.
 */
const BATCHES_BACK = 8;
/** Time that the reader of the journal has to catch up before the scheduler's word counts more. */
const CATCH_UP_MS = 2_000;
const READS_AT_A_TIME = 8;
/** Of all watches that begin. */
const MAX_READS = 64;
const RECORD = { jobId: 1 } as const;
/** For whom a topic reads: whoever watches it may see the job. */
const GATEWAY: Principal = { name: "gateway", role: "viewer", libraries: undefined };

export interface WatchesOptions {
  readonly nats: Nats;
  readonly feed: JournalFeed;
  readonly scheduler: SchedulerClient;
  readonly log: Logger;
  readonly registry: Registry;
}

export class Watches implements Part {
  readonly name = "watches";
  readonly #options: WatchesOptions;
  readonly #topics = new Map<string, WatchTopic>();
  readonly #reads = new Turns(MAX_READS);
  readonly #listener: FeedListener;
  readonly #streams: Gauge;
  readonly #coalesced: Counter;
  readonly #overflows: Counter;
  #progress: BusSubscription | undefined;
  #catchUp: NodeJS.Timeout | undefined;
  #forgetReconnect: (() => void) | undefined;
  #stopped = false;

  constructor(options: WatchesOptions) {
    this.#options = options;
    this.#listener = {
      onBatch: (batch) => {
        this.#onRecords(batch);
        if (batch.takesOver) this.#expectGap();
      },
      onGap: () => this.#expectGap(),
      onReset: () => this.#expectGap(),
    };
    const registers = [options.registry];
    this.#streams = new Gauge({ name: "arrw_watch_streams", help: "WatchJob streams now", registers });
    this.#coalesced = new Counter({
      name: "arrw_watch_progress_coalesced_total",
      help: "Progress reports that a newer one replaced before a watcher got them",
      registers,
    });
    this.#overflows = new Counter({
      name: "arrw_watch_overflows_total",
      help: "WatchJob streams ended because the client was too far behind",
      registers,
    });
  }

  async start(): Promise<void> {
    this.#forgetReconnect = this.#options.nats.onReconnect(() => this.#expectGap());
  }

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#forgetReconnect?.();
    clearTimeout(this.#catchUp);
    for (const { watchers } of this.#topics.values()) {
      for (const watcher of watchers) watcher.end(unavailable("the gateway is stopping"));
    }
    this.#stopListening();
  }

  /** Encoded WatchJobResponses: the job as it is, then what follows, up to the terminal one. @throws ArrwError */
  async *watch(request: WatchJobRequest, context: GatewayContext): AsyncGenerator<Buffer> {
    const { signal, principal } = context;
    // Topics are shared: whether this watcher may see the job is asked before it joins one.
    if (principal.libraries !== undefined) await this.#getJob(request.jobId, principal);
    const watcher = new Watcher(request.afterRevision);
    const topic = this.#join(request.jobId, watcher);
    signal.addEventListener("abort", watcher, { once: true });
    try {
      await this.#listen();
      if (await beganAfterTheEnd(topic, watcher, request.afterRevision)) return;
      for (;;) {
        for (let entry = watcher.queue.shift(); entry; entry = watcher.queue.shift()) {
          yield entry.payload;
          if (entry.terminal) return;
        }
        if (watcher.ended) throw watcher.ended;
        if (signal.aborted) throw signal.reason;
        await watcher.woken();
      }
    } finally {
      signal.removeEventListener("abort", watcher);
      this.#leave(topic, watcher);
    }
  }

  #join(jobId: string, watcher: Watcher): WatchTopic {
    if (this.#stopped) throw unavailable("the gateway is stopping");
    let topic = this.#topics.get(jobId);
    if (!topic) {
      topic = new WatchTopic({
        jobId,
        getJob: (id) => this.#getJob(id, GATEWAY),
        onCoalesced: () => this.#coalesced.inc(),
        onOverflow: () => this.#overflows.inc(),
      });
      this.#topics.set(jobId, topic);
    }
    topic.watchers.add(watcher);
    this.#streams.inc();
    for (const batch of this.#options.feed.recent.slice(-BATCHES_BACK)) {
      for (const bytes of batch.byJob.get(jobId) ?? []) takeUp(bytes, topic);
    }
    return topic;
  }

  #leave(topic: WatchTopic, watcher: Watcher): void {
    topic.watchers.delete(watcher);
    this.#streams.dec();
    if (topic.watchers.size === 0) this.#topics.delete(topic.jobId);
    if (this.#topics.size === 0) this.#stopListening();
  }

  /** When thousands of watches begin at once most of them wait here: that is cheaper than as calls, and not timed. */
  #getJob(jobId: string, principal: Principal): Promise<Buffer> {
    return this.#reads.run(() => {
      const signal = new AbortController().signal;
      const deadlineMs = Date.now() + READ_TIMEOUT_MS;
      return readJob(this.#options.scheduler, jobId, { deadlineMs, signal, principal });
    });
  }

  /** Resolves when every later record will be seen. */
  async #listen(): Promise<void> {
    const { nats, feed } = this.#options;
    this.#progress ??= nats.subscribe(Subject.jobProgress, (message) => this.#onProgress(message));
    await feed.join(this.#listener);
  }

  #stopListening(): void {
    this.#options.feed.leave(this.#listener);
    this.#progress?.unsubscribe();
    this.#progress = undefined;
  }

  #onRecords(batch: JournalBatch): void {
    for (const bytes of batch.records) {
      const jobId = leadingString(bytes, RECORD.jobId);
      const topic = jobId === undefined ? undefined : this.#topics.get(jobId);
      if (topic) takeUp(bytes, topic);
    }
  }

  #onProgress(message: BusMessage): void {
    const jobId = leadingString(message.data, RECORD.jobId);
    const topic = jobId === undefined ? undefined : this.#topics.get(jobId);
    if (topic) topic.onProgress(JobProgressEvent.decode(message.data));
  }

  /** After a reconnect or another leader: should the journal's reader have missed something, the scheduler knows. */
  #expectGap(): void {
    if (this.#topics.size === 0 || this.#stopped) return;
    this.#catchUp ??= setTimeout(() => {
      this.#catchUp = undefined;
      void this.#readAll();
    }, CATCH_UP_MS);
    this.#catchUp.unref();
  }

  async #readAll(): Promise<void> {
    const topics = [...this.#topics.values()];
    const read: { readonly topic: WatchTopic; readonly job: Job }[] = [];
    const work = async (): Promise<void> => {
      for (let topic = topics.pop(); topic && !this.#stopped; topic = topics.pop()) {
        const job = await this.#readAgain(topic);
        if (job) read.push({ topic, job });
      }
    };
    await Promise.all(Array.from({ length: READS_AT_A_TIME }, work));
    // What the reader of the journal brings by itself is complete: only what it still lacks then is given as read.
    await delay(CATCH_UP_MS, undefined, { ref: false });
    for (const { topic, job } of read) topic.onJob(job);
  }

  async #readAgain(topic: WatchTopic): Promise<Job | undefined> {
    try {
      return (await topic.read()).job;
    } catch (error) {
      const { code } = toArrwError(error);
      if (code === "NOT_FOUND") topic.onDeleted();
      else this.#options.log.warn({ err: error, job_id: topic.jobId }, "a watched job can't be read again");
      return undefined;
    }
  }
}

/** Gives the watcher the job as it is, or says that there is nothing more to come. @throws ArrwError */
async function beganAfterTheEnd(
  topic: WatchTopic,
  watcher: Watcher,
  afterRevision: bigint,
): Promise<boolean> {
  const { job, payload } = await topic.read();
  const terminal = isTerminal(job);
  if (job.revision <= afterRevision) return terminal;
  watcher.queue.offerSnapshot({ revision: job.revision, terminal, payload });
  return false;
}

function takeUp(record: Uint8Array, topic: WatchTopic): void {
  const { state } = JournalRecord.decode(record);
  if (state?.job) topic.onJob(state.job);
  else topic.onDeleted();
}
