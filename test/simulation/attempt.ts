import type { Cancel } from "../../platform/clock.ts";
import type { LeaseGrant, Outcome } from "../../proto/gen/arrwdb/worker/v1/worker.ts";
import type { Duration } from "../../proto/gen/google/protobuf/duration.ts";
import type { Host } from "./host.ts";
import type { Caller, IndexFences } from "./index-fences.ts";
import type { Ending, JobPlan } from "./plan.ts";
import { Random } from "./random.ts";

/** A handler may ignore its signal for so long. */
const GRACE_MS = 600;
const HANG_MS = 4_000;
const END_LEASE_TRIES = 3;

type Report = NonNullable<Outcome["outcome"]>;
type Reason = "cancel" | "drain" | "cut off" | "timeout";

export interface AttemptServices {
  readonly host: Host;
  readonly index: IndexFences;
  readonly publish: (outcome: Outcome, onStored: () => void) => void;
}

/** One lease in a worker: opens the fence, works in steps with a checkpoint each, closes the fence, reports. */
export class Attempt {
  /** @param outcome undefined: not ours any more, nothing is reported */
  onEnded: (outcome: Outcome | undefined) => void = () => undefined;
  readonly #grant: LeaseGrant;
  readonly #plan: JobPlan | undefined;
  readonly #ending: Ending;
  readonly #caller: Caller;
  readonly #services: AttemptServices;
  #timers: Cancel[] = [];
  #stopped: Reason | undefined;
  #over = false;

  constructor(grant: LeaseGrant, plan: JobPlan | undefined, services: AttemptServices) {
    this.#grant = grant;
    this.#plan = plan;
    this.#services = services;
    const { host } = services;
    // Its own delays: what other jobs do does not change them, so that a schedule can be made simpler.
    this.#caller = { host, random: Random.of(host.seed, `${grant.jobId}/${grant.leasesBefore}`) };
    this.#ending = plan?.endings[grant.leasesBefore] ?? "complete";
  }

  start(): void {
    for (const timeout of [this.#grant.executionTimeout, this.#grant.totalTimeout]) {
      if (timeout) this.#after(msOf(timeout), () => this.stop("timeout"));
    }
    void this.#run();
  }

  stop(reason: Reason): void {
    if (this.#over || this.#stopped) return;
    this.#stopped = reason;
    const ignores = this.#ending === "ignore cancel" && reason === "cancel";
    this.#after(ignores ? GRACE_MS : 5, () => this.#end(stoppedReport(reason)));
  }

  /** The scheduler says that the lease is not current. */
  disown(): void {
    if (this.#over) return;
    this.#close();
    this.onEnded(undefined);
  }

  async #run(): Promise<void> {
    const { index } = this.#services;
    const caller = this.#caller;
    const { jobId, lease, libraryId } = this.#grant;
    if (libraryId !== "") {
      const begun = await this.#untilAnswered(() => index.begin(caller, jobId, lease));
      if (this.#over) return;
      if (!begun) return this.disown();
    }
    const steps = (this.#plan?.checkpoints ?? 0) + 1;
    const ms = this.#ending === "hang" ? HANG_MS : (this.#plan?.ms ?? 0);
    for (let step = 1; step <= steps; step++) {
      await new Promise<void>((resolve) => this.#after(ms / steps, resolve));
      if (libraryId !== "") {
        const written = await this.#untilAnswered(() => index.write(caller, jobId, lease));
        if (this.#over) return;
        if (!written) return this.disown();
      }
      if (this.#over) return;
      if (step === steps) break;
      const value = { number: step, data: Buffer.from([step]), progress: undefined };
      const outcome = this.#outcome({ $case: "checkpoint", value });
      await new Promise<void>((resolve) => this.#services.publish(outcome, resolve));
      if (this.#over) return;
    }
    if (!this.#stopped || this.#ending === "ignore cancel") this.#end(reportOf(this.#ending));
  }

  #end(report: Report): void {
    if (this.#over) return;
    this.#close();
    const outcome = this.#outcome(report);
    if (this.#grant.libraryId === "") this.onEnded(outcome);
    else void this.#closeFence().then(() => this.onEnded(outcome));
  }

  async #closeFence(): Promise<void> {
    const { index } = this.#services;
    const caller = this.#caller;
    const { jobId, lease } = this.#grant;
    for (let tries = 0; tries < END_LEASE_TRIES; tries++) {
      const closed = await index.end(caller, jobId, lease).catch(() => false);
      if (closed) return;
    }
  }

  async #untilAnswered(call: () => Promise<boolean>): Promise<boolean> {
    while (!this.#over) {
      const answer = await call().catch(() => undefined);
      if (answer !== undefined) return answer;
    }
    return false;
  }

  #close(): void {
    this.#over = true;
    for (const cancel of this.#timers) cancel();
    this.#timers = [];
  }

  #after(ms: number, run: () => void): void {
    this.#timers.push(this.#services.host.clock.after(ms, run));
  }

  #outcome(report: Report): Outcome {
    return { jobId: this.#grant.jobId, lease: this.#grant.lease, outcome: report, fenceOpen: false };
  }
}

function stoppedReport(reason: Reason): Report {
  if (reason === "cancel") {
    return { $case: "cancelled", value: { partialResult: undefined, progress: undefined } };
  }
  if (reason === "timeout") return failed("DEADLINE_EXCEEDED", true, undefined, true);
  return { $case: "released", value: { delay: undefined } };
}

function reportOf(ending: Ending): Report {
  switch (ending) {
    case "fail":
      return failed("BUSY", true, undefined, false);
    case "fail for good":
      return failed("BROKEN", false, undefined, false);
    case "fail, retry after 700 ms":
      return failed("BUSY", true, { seconds: 0n, nanos: 700_000_000 }, false);
    case "snooze":
      return { $case: "released", value: { delay: { seconds: 0n, nanos: 300_000_000 } } };
    default:
      return { $case: "completed", value: { result: undefined, progress: undefined } };
  }
}

function failed(
  code: string,
  retryable: boolean,
  retryAfter: Duration | undefined,
  timedOut: boolean,
): Report {
  const error = { code, message: "", retryable };
  return { $case: "failed", value: { error, retryAfter, timedOut } };
}

function msOf({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1_000 + nanos / 1e6;
}
