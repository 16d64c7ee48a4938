import { invalidArgument, notFound, toArrwError, unavailable } from "../../platform/errors.ts";
import type { Part } from "../../platform/lifecycle.ts";
import { Gauge, type Registry } from "../../platform/metrics.ts";
import type { Nats } from "../../platform/nats/connection.ts";
import type { StoredMessage } from "../../platform/nats/direct-batch.ts";
import type { Follow } from "../../platform/nats/follow.ts";
import { Stream, Subject } from "../../platform/nats/names.ts";
import { type GetJobLogsRequest, GetJobResponse, type JobAttempt } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { isForeign, LogPosition } from "./domain/job-log.ts";
import { isJobId } from "./domain/validation/ids.ts";
import type { GatewayContext } from "./guard.ts";
import { readJob } from "./job-reader.ts";
import { LogFollower } from "./log-follower.ts";
import { LogReader, readLogMessage } from "./log-reader.ts";
import type { SchedulerClient } from "./scheduler-client.ts";
import type { Watches } from "./watches.ts";

/**
 * GetJobLogs. Those who follow, whichever jobs, share one reader of the stream of logs, which is there while somebody
 * follows. A client that can't keep up has its lines read from the stream again when it can.
 */

const LINGER_MS = 5_000;

export interface LogsOptions {
  readonly nats: Nats;
  readonly scheduler: SchedulerClient;
  readonly watches: Pick<Watches, "watch">;
  readonly registry: Registry;
}

export class Logs implements Part {
  readonly name = "logs";
  readonly #options: LogsOptions;
  readonly #reader: LogReader;
  readonly #followers = new Map<string, Set<LogFollower>>();
  readonly #streams: Gauge;
  #feed: Promise<Follow> | undefined;
  #linger: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: LogsOptions) {
    this.#options = options;
    this.#reader = new LogReader(options.nats);
    this.#streams = new Gauge({
      name: "arrw_log_followers",
      help: "GetJobLogs streams that follow a job now",
      registers: [options.registry],
    });
  }

  async start(): Promise<void> {}

  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#linger);
    for (const followers of this.#followers.values()) {
      for (const follower of followers) follower.end(unavailable("the gateway is stopping"));
    }
    await this.#stopFollowing();
  }

  /** Encoded GetJobLogsResponses. @throws ArrwError */
  async *read(request: GetJobLogsRequest, context: GatewayContext): AsyncGenerator<Buffer> {
    const { jobId, follow, afterCursor } = request;
    const from = LogPosition.parse(afterCursor);
    if (!from) {
      const description = `the cursor of a line; got ${JSON.stringify(afterCursor.slice(0, 100))}`;
      throw invalidArgument([{ field: "after_cursor", description }]);
    }
    if (!isJobId(jobId)) throw notFound("job", jobId);
    if (follow) yield* this.#follow(jobId, from, context);
    else {
      const attempts = await this.#attempts(jobId, context);
      yield* (await this.#reader.read(jobId, from, attempts)).lines;
    }
  }

  async *#follow(jobId: string, from: LogPosition, context: GatewayContext): AsyncGenerator<Buffer> {
    const follower = this.#join(jobId);
    const abort = new AbortController();
    const onAbort = (): void => {
      abort.abort(context.signal.reason);
      follower.end(toArrwError(context.signal.reason));
    };
    if (context.signal.aborted) onAbort();
    else context.signal.addEventListener("abort", onAbort, { once: true });
    try {
      await this.#listen();
      const attempts = await this.#untilEnded(jobId, follower, { ...context, signal: abort.signal });
      yield* this.#lines(jobId, from, follower, attempts);
    } finally {
      context.signal.removeEventListener("abort", onAbort);
      abort.abort(new Error("not followed any more"));
      this.#leave(jobId, follower);
    }
  }

  async *#lines(
    jobId: string,
    from: LogPosition,
    follower: LogFollower,
    attempts: readonly JobAttempt[],
  ): AsyncGenerator<Buffer> {
    let position = from;
    for (;;) {
      // Looked at before reading: what is stored when the job has ended is all there is.
      const { ended } = follower;
      if (ended && ended !== "job") throw ended;
      if (ended || follower.takeBehind()) {
        const part = await this.#reader.read(jobId, position, attempts);
        position = part.position;
        yield* part.lines;
      }
      for (let message = follower.shift(); message; message = follower.shift()) {
        if (isForeign(message.lease, attempts)) continue;
        const taken = position.take(message);
        position = taken.position;
        yield* taken.lines;
      }
      if (ended) return;
      await follower.woken();
    }
  }

  /** Resolves with the job's attempts as of now; goes on in the background until the job has ended. @throws ArrwError */
  async #untilEnded(
    jobId: string,
    follower: LogFollower,
    context: GatewayContext,
  ): Promise<readonly JobAttempt[]> {
    const watch = this.#options.watches.watch({ jobId, afterRevision: 0n }, context);
    const first = await watch.next();
    // GetJobResponse and WatchJobResponse have their job in the same field.
    const job = first.done ? undefined : GetJobResponse.decode(first.value).job;
    const rest = async (): Promise<void> => {
      for await (const _ of watch);
    };
    rest().then(
      () => follower.end("job"),
      (error: unknown) => follower.end(toArrwError(error)),
    );
    return job?.attempts ?? [];
  }

  async #attempts(jobId: string, context: GatewayContext): Promise<readonly JobAttempt[]> {
    const reply = await readJob(this.#options.scheduler, jobId, context);
    return GetJobResponse.decode(reply).job?.attempts ?? [];
  }

  #join(jobId: string): LogFollower {
    if (this.#stopped) throw unavailable("the gateway is stopping");
    const follower = new LogFollower();
    const followers = this.#followers.get(jobId) ?? new Set();
    this.#followers.set(jobId, followers.add(follower));
    this.#streams.inc();
    return follower;
  }

  #leave(jobId: string, follower: LogFollower): void {
    const followers = this.#followers.get(jobId);
    followers?.delete(follower);
    this.#streams.dec();
    if (followers?.size === 0) this.#followers.delete(jobId);
    if (this.#followers.size > 0 || this.#stopped) return;
    clearTimeout(this.#linger);
    this.#linger = setTimeout(() => {
      if (this.#followers.size === 0) void this.#stopFollowing();
    }, LINGER_MS);
    this.#linger.unref();
  }

  /** Resolves when every later line will be seen. */
  async #listen(): Promise<void> {
    clearTimeout(this.#linger);
    this.#feed ??= this.#open().catch((error: unknown) => {
      this.#feed = undefined;
      throw error;
    });
    await this.#feed;
  }

  async #open(): Promise<Follow> {
    const { nats } = this.#options;
    const { lastSequence } = await nats.streamInfo(Stream.logs);
    const onMessage = (message: StoredMessage): void => this.#onMessage(message);
    const follow = nats.follow({
      stream: Stream.logs,
      subject: Subject.jobLogs,
      feed: Subject.jobLogFeeds,
      fromSequence: lastSequence + 1,
      onMessage,
    });
    try {
      await follow.start();
    } catch (error) {
      await follow.stop();
      throw unavailable("the logs can't be followed", { cause: error });
    }
    return follow;
  }

  async #stopFollowing(): Promise<void> {
    const opening = this.#feed;
    this.#feed = undefined;
    const follow = await opening?.catch(() => undefined);
    await follow?.stop();
  }

  /** Of jobs that nobody follows it stays undecoded. */
  #onMessage(stored: StoredMessage): void {
    const jobId = stored.subject.slice(Subject.jobLog("").length);
    const followers = this.#followers.get(jobId);
    const message = followers && readLogMessage(jobId, stored);
    if (message) for (const follower of followers) follower.offer(message);
  }
}
