import { ArrwError, invalidArgument } from "../../platform/errors.ts";
import type { JobProgress, JobResult } from "../../proto/gen/arrwdb/v1/jobs.ts";
import { type LeaseGrant, Outcome } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import { AttemptLog, type AttemptLogOptions } from "./attempt-log.ts";
import type { AttemptMetrics } from "./attempt-metrics.ts";
import type { Deadlines } from "./deadlines.ts";
import { type Ending, givenBack, MAX_OUTCOME_BYTES, tooLarge } from "./endings.ts";
import { isFenced, timedOut, toFailure } from "./failure.ts";
import { type Fences, librariesOf } from "./fences.ts";
import {
  Cancelled,
  type Handler,
  type HandlerReturn,
  type JobContext,
  type Kind,
  type LeasedLibrary,
  type ProgressUpdate,
  Snooze,
  toJobProgress,
} from "./handler.ts";
import type { Outcomes } from "./outcomes.ts";
import type { Progress } from "./progress.ts";
import { Stopped, type StopReason } from "./stopped.ts";
import { timeoutOf } from "./timeout.ts";

/** What attempts share. */
export interface AttemptServices extends AttemptLogOptions {
  readonly outcomes: Pick<Outcomes, "add">;
  readonly progress: Pick<Progress, "report" | "forget">;
  readonly fences: Pick<Fences, "begin" | "end">;
  readonly deadlines: Pick<Deadlines, "set" | "delete">;
  readonly metrics: AttemptMetrics;
  /** Time a handler has to stop before the attempt is given up. */
  readonly graceMs: Readonly<Record<Exclude<StopReason, "disowned">, number>>;
  /** The handler has ended or was given up. */
  onEnded(lease: bigint): void;
  /** The outcome is stored; nothing more comes. */
  onStored(lease: bigint): void;
}

export const MAX_CHECKPOINT_BYTES = 16 * 1024;

/**
 * Runs one lease: opens the fence, calls the handler, closes the fence, publishes the outcome. A lease has exactly one
 * outcome, or none when it isn't ours any more. Thousands run each second, so what few need (signal, log, timer) is
 * made when it is asked for.
 */
export class Attempt implements JobContext {
  readonly #grant: LeaseGrant;
  readonly #handler: Handler | undefined;
  readonly #services: AttemptServices;
  readonly #startedAtMs = performance.now();
  readonly #onTimeout = (): void => this.stop("timeout");
  readonly #onAbandon = (): void => this.#abandon();
  #state: "running" | "ending" | "ended" = "running";
  #stopped: Stopped | undefined;
  #abort: AbortController | undefined;
  #log: AttemptLog | undefined;
  #progress: JobProgress | undefined;
  #checkpoints = 0;

  constructor(grant: LeaseGrant, handler: Handler | undefined, services: AttemptServices) {
    this.#grant = grant;
    this.#handler = handler;
    this.#services = services;
    this.#progress = grant.progress;
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#stopped) this.#abort.abort(this.#stopped);
    }
    return this.#abort.signal;
  }

  get log(): AttemptLog {
    this.#log ??= new AttemptLog(this.#grant, this.#services);
    return this.#log;
  }

  /** Never throws; the handler runs at once, or when the fence is open. */
  start(): void {
    const { grantedAt, type } = this.#grant;
    this.#services.metrics.started(type);
    const timeout = timeoutOf(this.#grant);
    if (timeout) {
      // Clocks may differ: a lease granted "in the future" has just been granted.
      const elapsedMs = grantedAt ? Math.max(0, Date.now() - grantedAt.getTime()) : 0;
      this.#services.deadlines.set(this.#onTimeout, performance.now() + timeout.ms - elapsedMs);
    }
    if (librariesOf(this.#grant).length === 0) {
      this.#run([]);
      return;
    }
    this.#services.fences.begin(this.#grant, this.signal).then(
      (libraries) => this.#run(libraries),
      (error: unknown) => this.#threw(error),
    );
  }

  /** Asks the handler to end; it is given up when it doesn't within the grace time. The first reason counts. */
  stop(reason: StopReason): void {
    if (reason === "disowned") {
      this.#disown();
      return;
    }
    if (this.#state !== "running" || this.#stopped) return;
    const { deadlines, graceMs } = this.#services;
    this.#stopped = new Stopped(reason, reason === "timeout" ? timeoutOf(this.#grant)?.text : undefined);
    deadlines.delete(this.#onTimeout);
    deadlines.set(this.#onAbandon, performance.now() + graceMs[reason]);
    this.#abort?.abort(this.#stopped);
  }

  progress(update: ProgressUpdate): void {
    if (this.#state !== "running") return;
    this.#progress = toJobProgress(update);
    this.#services.progress.report(this.#grant.jobId, this.#grant.lease, this.#progress);
  }

  async checkpoint(data: Uint8Array): Promise<void> {
    if (data.length > MAX_CHECKPOINT_BYTES) {
      const description = `at most ${MAX_CHECKPOINT_BYTES} bytes; got ${data.length}`;
      throw invalidArgument([{ field: "checkpoint", description }]);
    }
    if (this.#state !== "running") throw this.#stopped ?? new Stopped("disowned");
    this.#checkpoints += 1;
    const value = { number: this.#checkpoints, data: Buffer.from(data), progress: this.#progress };
    const bytes = this.#encode({ $case: "checkpoint", value });
    this.#log?.flush();
    const { signal } = this;
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason);
      // A handler that is stopping still saves how far it came, and doesn't wait for it.
      if (signal.aborted) onAbort();
      else signal.addEventListener("abort", onAbort, { once: true });
      this.#services.outcomes.add(bytes, () => {
        signal.removeEventListener("abort", onAbort);
        resolve();
      });
    });
  }

  #run(libraries: readonly LeasedLibrary[]): void {
    if (this.#state !== "running") return;
    try {
      if (this.#stopped) throw this.#stopped;
      const returned = this.#callHandler(libraries);
      if (returned instanceof Promise) {
        returned.then(
          (value) => this.#returned(value),
          (error: unknown) => this.#threw(error),
        );
      } else {
        this.#returned(returned);
      }
    } catch (error) {
      this.#threw(error);
    }
  }

  #callHandler(libraries: readonly LeasedLibrary[]): ReturnType<Handler["run"]> {
    const grant = this.#grant;
    const { jobId, lease, type, attempt, leasesBefore, spec, payloadObject, itemCount, checkpoint } = grant;
    const handler = this.#handler;
    if (!handler) throw new ArrwError("UNIMPLEMENTED", `this worker runs no jobs of type ${type}`);
    if (spec?.spec?.$case !== handler.kind) {
      throw new ArrwError("INVALID_ARGUMENT", `the job has no spec of its type ${type}`);
    }
    const input = {
      jobId,
      lease,
      attempt,
      leasesBefore,
      // A scheduler of an earlier version says neither.
      createdAt: grant.createdAt ?? grant.grantedAt ?? new Date(),
      run: Math.max(1, grant.run),
      failedItemsOnly: grant.failedItemsOnly,
      // The comparison above ties the spec to the handler's kind, which the compiler can't follow.
      spec: spec.spec.value as never,
      payloadObject,
      itemCount: Number(itemCount),
      checkpoint,
      library: grant.libraryId === "" ? undefined : libraries[0],
      libraries: grant.libraryId === "" ? libraries : [],
    };
    return handler.run(input, this);
  }

  #returned(value: HandlerReturn<Kind>): void {
    if (value instanceof Cancelled) this.#threw(value);
    else this.#end({ $case: "completed", value: { result: this.#result(value), progress: this.#progress } });
  }

  #threw(error: unknown): void {
    if (isFenced(error)) this.#disown();
    else if (this.#stopped) this.#end(this.#stoppedEnding(this.#stopped, error));
    else this.#end(error instanceof Snooze ? this.#snoozedEnding(error) : this.#failedEnding(error));
  }

  /** The handler stopped on request: what the outcome is depends on the request, not on what it threw. */
  #stoppedEnding(stopped: Stopped, error: unknown): Ending {
    if (!(error instanceof Stopped || error instanceof Cancelled || error instanceof Snooze)) {
      this.log.process.debug({ err: error }, "the handler failed while it stopped");
    }
    switch (stopped.why) {
      case "timeout":
        this.log.note("error", `attempt failed: DEADLINE_EXCEEDED: ${stopped.message}`);
        return { $case: "failed", value: timedOut(stopped.message) };
      case "cancel": {
        const partial = error instanceof Cancelled ? error.partialResult : undefined;
        const partialResult = partial && this.#result(partial as never);
        return { $case: "cancelled", value: { partialResult, progress: this.#progress } };
      }
      default:
        this.log.note("info", `attempt given back: ${stopped.message}`);
        // Given back, so that neither a restart nor an outage counts against the job.
        return givenBack(error instanceof Snooze ? error.delayMs : undefined);
    }
  }

  #snoozedEnding({ delayMs }: Snooze): Ending {
    this.log.note("info", `attempt given back: it goes on in ${delayMs / 1000} s`);
    return givenBack(delayMs);
  }

  #failedEnding(error: unknown): Ending {
    const failed = toFailure(error);
    const internal = !(error instanceof ArrwError) || error.code === "INTERNAL";
    const { process } = this.log;
    process[internal ? "error" : "info"]({ err: error, attempt: this.#grant.attempt }, "attempt failed");
    this.log.note("error", `attempt failed: ${failed.error?.code}: ${failed.error?.message}`);
    return { $case: "failed", value: failed };
  }

  #result(value: HandlerReturn<Kind>): JobResult {
    // A handler's results are of its own kind; its type says so.
    return { result: { $case: this.#handler?.kind, value } as NonNullable<JobResult["result"]> };
  }

  /** The handler has had its time: whatever it does from now on is ignored. */
  #abandon(): void {
    if (this.#state !== "running" || !this.#stopped) return;
    const text = "the handler does not stop; its attempt is given up";
    this.log.process.warn({ reason: this.#stopped.why }, text);
    this.log.note("warn", text);
    this.#end(this.#stoppedEnding(this.#stopped, this.#stopped));
  }

  /** Not ours any more: no outcome. */
  #disown(): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#stopped = new Stopped("disowned");
    this.#abort?.abort(this.#stopped);
    this.#close("disowned");
    this.#services.onEnded(this.#grant.lease);
  }

  #end(ending: Ending): void {
    if (this.#state !== "running") return;
    this.#state = "ending";
    if (librariesOf(this.#grant).length === 0) this.#publish(ending, false);
    else void this.#services.fences.end(this.#grant).then((closed) => this.#publish(ending, !closed));
  }

  #publish(ending: Ending, fenceOpen: boolean): void {
    if (this.#state === "ended") return;
    this.#state = "ended";
    this.#close(ending.$case);
    const { outcomes, onEnded, onStored } = this.#services;
    const { lease } = this.#grant;
    let bytes = this.#encode(ending, fenceOpen);
    if (bytes.length > MAX_OUTCOME_BYTES) bytes = this.#encode(tooLarge(bytes.length), fenceOpen);
    outcomes.add(bytes, () => onStored(lease));
    onEnded(lease);
  }

  #close(outcome: string): void {
    const { deadlines, progress, metrics } = this.#services;
    if (timeoutOf(this.#grant)) deadlines.delete(this.#onTimeout);
    if (this.#stopped) deadlines.delete(this.#onAbandon);
    // Before the outcome: whoever sees that the job has ended finds its log whole.
    this.#log?.end();
    progress.forget(this.#grant.lease);
    metrics.ended(this.#grant.type, outcome, performance.now() - this.#startedAtMs);
  }

  #encode(outcome: Ending, fenceOpen = false): Uint8Array {
    const { jobId, lease } = this.#grant;
    return Outcome.encode({ jobId, lease, outcome, fenceOpen }).finish();
  }
}
