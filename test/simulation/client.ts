import { encode } from "../../platform/encode.ts";
import { ArrwError } from "../../platform/errors.ts";
import { Submission } from "../../proto/gen/arrwdb/scheduler/v1/scheduler.ts";
import { Job } from "../../proto/gen/arrwdb/v1/jobs.ts";
import type { Queue } from "../../proto/gen/arrwdb/v1/queues.ts";
import { CANCELLED, RUNNING } from "../../services/scheduler/domain/state.ts";
import { changeJob } from "../../services/scheduler/job-changes.ts";
import type { Leader } from "../../services/scheduler/leader.ts";
import { durable, resultOf, submitOne } from "../../services/scheduler/submit.ts";
import { START_MS } from "./host.ts";
import type { JournalChecker } from "./journal-checker.ts";
import type { JobPlan } from "./plan.ts";
import type { Random } from "./random.ts";
import type { SimulatedScheduler } from "./scheduler.ts";
import type { Timeline } from "./timeline.ts";

export type Call =
  | { readonly kind: "submit"; readonly jobId: string; readonly plan: JobPlan; readonly number: number }
  | {
      readonly kind: "cancel" | "retry" | "delete" | "get";
      readonly jobId: string;
      readonly fromCheckpoint: boolean;
    }
  | { readonly kind: "queue"; readonly queue: Partial<Queue> & { readonly type: string } };

type Answer = { readonly job: Job | undefined; readonly sequence: number } | ArrwError;

const MAX_ACTIVE_JOBS = 10_000;
const CALL_TIMEOUT_MS = 2_500;
const DEADLINE_MS = 8_000;
const PAUSE_MS = 150;

export interface ClientOptions {
  readonly timeline: Timeline;
  readonly random: Random;
  readonly schedulers: readonly SimulatedScheduler[];
  readonly checker: JournalChecker;
  readonly fail: (message: string) => void;
  readonly note: ((line: string) => void) | undefined;
}

/** What gateways ask of schedulers: finds the leader, repeats what is UNAVAILABLE, checks what it is told. */
export class Client {
  readonly #options: ClientOptions;
  /** Journal sequence that was acknowledged last, by job. */
  readonly #seen = new Map<string, number>();
  #target = 0;
  #open = 0;
  /** Two schedulers may have led at the same time: reads may be old. */
  mayReadOld = false;

  constructor(options: ClientOptions) {
    this.#options = options;
  }

  /** Calls without an answer. */
  get open(): number {
    return this.#open;
  }

  call(call: Call): void {
    const { timeline } = this.#options;
    this.#open += 1;
    this.#attempt(call, timeline.now + DEADLINE_MS, timeline.now);
  }

  #attempt(call: Call, deadlineMs: number, sinceMs: number): void {
    const { timeline, random, schedulers, note } = this.#options;
    let answered = false;
    const seenBefore = call.kind === "queue" ? undefined : this.#seen.get(call.jobId);
    const onAnswer = (answer: Answer): void => {
      if (answered) return;
      answered = true;
      cancelTimeout();
      const again = answer instanceof ArrwError && answer.code === "UNAVAILABLE";
      if (again && timeline.now < deadlineMs) {
        this.#target += 1;
        timeline.at(timeline.now + PAUSE_MS, () => this.#attempt(call, deadlineMs, sinceMs));
        return;
      }
      this.#open -= 1;
      const text = answer instanceof ArrwError ? answer.code : (answer.job?.status ?? "done");
      note?.(`client: ${call.kind} ${call.kind === "queue" ? call.queue.type : call.jobId} -> ${text}`);
      this.#check(call, answer, seenBefore);
    };
    const timedOut = new ArrwError("UNAVAILABLE", "no answer in time");
    const cancelTimeout = timeline.at(timeline.now + CALL_TIMEOUT_MS, () => onAnswer(timedOut));
    const scheduler = schedulers[this.#target % schedulers.length];
    timeline.at(timeline.now + random.latency(), () => {
      const reply = (answer: Answer): void => {
        timeline.at(timeline.now + random.latency(), () => onAnswer(answer));
      };
      if (!scheduler?.host || scheduler.host.dead) reply(timedOut);
      else scheduler.host.io(() => void perform(scheduler, call).then(reply));
    });
  }

  #check(call: Call, answer: Answer, seenBefore: number | undefined): void {
    const { fail, checker } = this.#options;
    if (call.kind === "queue") return;
    const what = `the reply to ${call.kind} ${call.jobId}`;
    const history = checker.history.get(call.jobId) ?? [];
    if (answer instanceof ArrwError) {
      if (answer.code === "INTERNAL" || answer.code === "ALREADY_EXISTS") fail(`${what}: ${answer.message}`);
      const deleted = history.some(({ state }) => state === undefined);
      if (answer.code === "NOT_FOUND" && seenBefore !== undefined && !deleted && !this.mayReadOld) {
        fail(`${what}: NOT_FOUND, but it was acknowledged`);
      }
      return;
    }
    if (!answer.job) return;
    const { jobId, revision, status, cancelRequested } = answer.job;
    const told = comparable(answer.job);
    const record = (checker.history.get(jobId) ?? []).findLast(
      ({ state }) => state?.job.revision === revision && comparable(state.job) === told,
    );
    if (!record) fail(`${what}: revision ${revision} of ${jobId} is not in the journal like this`);
    else if (answer.sequence < (seenBefore ?? 0) && !this.mayReadOld) {
      fail(`${what}: as of ${answer.sequence}, but ${seenBefore} was acknowledged before it was asked`);
    }
    if (call.kind === "cancel" && status !== CANCELLED && !(status === RUNNING && cancelRequested)) {
      // A job that ended meanwhile is shown as it is now.
      const asked = history.some(({ state }) => state?.job.cancelRequested);
      if (!asked) fail(`${what}: the cancel was acknowledged, and it is ${status}`);
    }
    this.#seen.set(jobId, Math.max(this.#seen.get(jobId) ?? 0, record?.sequence ?? 0));
  }
}

/** What a transition has made of a job: progress and what it waits for are as of the read. */
function comparable(job: Job): string {
  return encode(Job, { ...job, progress: undefined, waitingFor: "" }).toString("latin1");
}

async function perform({ leader }: SimulatedScheduler, call: Call): Promise<Answer> {
  if (!leader) return new ArrwError("UNAVAILABLE", "not started");
  try {
    return await performOn(leader, call);
  } catch (error) {
    return error instanceof ArrwError ? error : new ArrwError("INTERNAL", String(error), { cause: error });
  }
}

/** As the scheduler's gRPC API does it. */
async function performOn(leader: Leader, call: Call): Promise<Answer> {
  if (call.kind === "get") {
    const { table } = leader.view().projection;
    const entry = table.find(call.jobId);
    const job = entry && table.visible(entry);
    if (!entry || !job) throw new ArrwError(leader.view().term ? "NOT_FOUND" : "UNAVAILABLE", "no such job");
    return { job, sequence: entry.sequence };
  }
  const term = leader.term();
  if (call.kind === "queue") {
    term.queues.set({ ...term.queues.get(call.queue.type), ...call.queue });
    await term.storeQueues();
    term.dispatcher.run();
    return { job: undefined, sequence: 0 };
  }
  if (call.kind === "submit") {
    const submitted = submitOne(term, submissionOf(call), MAX_ACTIVE_JOBS);
    term.dispatcher.run();
    if ("entry" in submitted) await durable([submitted.entry]);
    const { outcome } = resultOf(term, submitted);
    if (outcome?.$case !== "job") {
      if (submitted instanceof ArrwError) throw submitted;
      throw new ArrwError(
        "mismatch" in submitted && submitted.mismatch ? "ALREADY_EXISTS" : "NOT_FOUND",
        "refused",
      );
    }
    return { job: outcome.value, sequence: "entry" in submitted ? submitted.entry.sequence : 0 };
  }
  const { jobId, fromCheckpoint } = call;
  const change = {
    cancel: { kind: "requestCancel", reason: "enough" } as const,
    retry: { kind: "retry", fromCheckpoint, endedRevision: 0n } as const,
    delete: { kind: "delete" } as const,
  }[call.kind];
  const entry = await changeJob(term, jobId, change, { maxActiveJobs: MAX_ACTIVE_JOBS, visible: [] });
  const job = call.kind === "delete" ? undefined : leader.view().projection.table.visible(entry);
  return { job, sequence: entry.sequence };
}

function submissionOf({ jobId, plan, number }: Extract<Call, { kind: "submit" }>): Submission {
  const { type, library, maxRetries, withRequestId, key, keyLimit, fastRetries } = plan;
  return Submission.fromPartial({
    jobId,
    type,
    requestDigest: Buffer.from([number]),
    request: {
      requestId: withRequestId ? `request-${number}` : "",
      libraryId: library,
      maxRetries,
      runAt: plan.delayMs > 0 ? new Date(START_MS + plan.at + plan.delayMs) : undefined,
      executionTimeout: durationOf(plan.executionTimeoutMs),
      totalTimeout: durationOf(plan.totalTimeoutMs),
      concurrencyKey: key,
      concurrencyLimit: keyLimit,
      retryPolicy: fastRetries ? { backoffInitial: durationOf(100), backoffMax: durationOf(400) } : undefined,
    },
  });
}

function durationOf(ms: number) {
  if (ms === 0) return undefined;
  return { seconds: BigInt(Math.floor(ms / 1_000)), nanos: (ms % 1_000) * 1e6 };
}
