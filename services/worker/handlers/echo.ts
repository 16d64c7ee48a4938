import { setTimeout as delay } from "node:timers/promises";
import { ArrwError } from "../../../platform/errors.ts";
import type { EchoResult, EchoSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";
import type { Duration } from "../../../proto/gen/google/protobuf/duration.ts";
import { type Handler, type JobContext, type LeasedJob, Snooze } from "../handler.ts";

/** Diagnostic: snoozes, sleeps, reports progress, fails on request, and returns its message. */
export const echo: Handler<"echo"> = {
  type: "echo",
  kind: "echo",
  run(job, context) {
    const { spec, leasesBefore } = job;
    if (leasesBefore < spec.snoozeTimes) throw new Snooze(toMs(spec.snooze));
    // The plain case costs no promise: it is what load tests send by the thousand.
    return spec.sleep || spec.steps > 0 ? runSteps(job, context) : result(job);
  },
};

const PAUSE_STEPS = 1_000;

async function runSteps(job: LeasedJob<"echo">, context: JobContext): Promise<EchoResult> {
  const { sleep, steps } = job.spec;
  const sleepMs = toMs(sleep);
  const startedAtMs = performance.now();
  const rounds = Math.max(1, steps);
  for (let step = 1; step <= rounds; step++) {
    // Measured from the start, so that the lateness of timers doesn't add up.
    const waitMs = startedAtMs + (sleepMs * step) / rounds - performance.now();
    if (waitMs > 0) await pause(waitMs, context.signal);
    else if (step % PAUSE_STEPS === 0) await pause(0, context.signal);
    if (steps > 0) {
      const message = `step ${step} of ${steps}`;
      context.progress({ current: step, total: steps, message });
      context.log.info(message);
    }
  }
  return result(job);
}

function result({ spec, attempt }: LeasedJob<"echo">): EchoResult {
  const { message, failTimes, failPermanently } = spec satisfies EchoSpec;
  if (failPermanently) {
    throw new ArrwError("FAILED_PRECONDITION", "the spec says fail_permanently", { reason: "ECHO_FAILED" });
  }
  if (attempt <= failTimes) {
    const text = `attempt ${attempt}: the spec says that the first ${failTimes} fail`;
    throw new ArrwError("ABORTED", text, { reason: "ECHO_FAILED" });
  }
  return { message };
}

function toMs(duration: Duration | undefined): number {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / 1e6 : 0;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch {
    throw signal.reason;
  }
}
